"""The flags of `login`."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csidriver.kubectl.login.first_refresh import WAIT_SECONDS
from csidriver.kubectl.login.issuer_choice import Wanted
from csidriver.kubectl.login.login_flow import Flow
from csidriver.kubectl.login.loopback import DEFAULT_REDIRECT
from csidriver.kubectl.wait_time import wait_seconds

_DESCRIPTION = """
Log in at an issuer, and put the tokens into Secret NAME, which the driver then keeps fresh.
A Secret that exists gets the new login; nothing else in it changes.
"""
_EXAMPLES = """
examples:
  kubectl oauth2-csi login hello-token
  kubectl oauth2-csi login hello-token -n physics --issuer cern --device
  kubectl oauth2-csi login hello-token --issuer-url https://login.example.org --client-id my-app
  kubectl oauth2-csi login hello-token --print | kubeseal > sealed.yaml
"""


@dataclass(frozen=True, slots=True)
class LoginFlags:
    """The flags of one call. `scope` is "" for that of the issuer, `print_to` None for no file."""

    name: str
    flow: Flow | None
    wanted: Wanted
    scope: str
    ask_client_secret: bool
    ca_file: str
    redirect_url: str
    wait: float
    prints: bool
    print_to: Path | None
    dry_run: bool
    driver_namespace: str

    @classmethod
    def parse(cls, args: argparse.Namespace) -> "LoginFlags":
        flows = (args.device, Flow.DEVICE), (args.no_browser, Flow.PASTE), (args.web, Flow.BROWSER)
        return cls(
            name=args.name,
            flow=next((flow for given, flow in flows if given), None),
            wanted=Wanted(args.issuer, args.issuer_url, args.client_id, args.client_secret_file),
            scope=args.scope,
            ask_client_secret=args.ask_client_secret,
            ca_file=args.ca_file,
            redirect_url=args.redirect_url,
            wait=args.wait,
            prints=args.print or bool(args.print_to),
            print_to=Path(args.print_to) if args.print_to else None,
            dry_run=args.dry_run,
            driver_namespace=args.driver_namespace,
        )


def add_login_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the parser of `login`, and return it."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "login",
        help="log in, and put the tokens into a Secret",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # Else --client-secret=... would pass for --client-secret-file.
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="the Secret")
    _add_flow_flags(parser)
    _add_issuer_flags(parser)
    _add_output_flags(parser)
    return parser


def _add_flow_flags(parser: argparse.ArgumentParser) -> None:
    flow = parser.add_mutually_exclusive_group()
    flow.add_argument("--device", action="store_true", help="with a code, in any browser")
    flow.add_argument("--web", action="store_true", help="in the browser of this machine")
    about = "in any browser; you paste the address at which it ends"
    flow.add_argument("--no-browser", action="store_true", help=about)
    about = f"address of this machine that the client has registered, default {DEFAULT_REDIRECT}"
    parser.add_argument("--redirect-url", metavar="URL", default=DEFAULT_REDIRECT, help=about)


def _add_issuer_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("issuer and client")
    about = "a configured issuer; default: that of the Secret, or the default one"
    group.add_argument("--issuer", metavar="NAME", default="", help=about)
    group.add_argument("--issuer-url", metavar="URL", default="", help="the address of an issuer")
    about = "default: that of the Secret, or of the issuer"
    group.add_argument("--client-id", metavar="ID", default="", help=about)
    secret = group.add_mutually_exclusive_group()
    about = "file with the client's secret, if it has one"
    secret.add_argument("--client-secret-file", metavar="FILE", default="", help=about)
    about = "ask for the client's secret"
    secret.add_argument("--ask-client-secret", action="store_true", help=about)
    about = "what to ask for, instead of the issuer's scopes"
    group.add_argument("--scope", metavar="SCOPES", default="", help=about)
    about = "file with the CA of the issuer; default: those of the system"
    group.add_argument("--ca-file", metavar="FILE", default="", help=about)


def _add_output_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("result")
    about = f"how long to wait for the first refresh, 0 for not at all; default {WAIT_SECONDS:.0f}"
    group.add_argument(
        "--wait", metavar="SECONDS", type=wait_seconds, default=WAIT_SECONDS, help=about
    )
    output = group.add_mutually_exclusive_group()
    about = "write the Secret as YAML to a pipe instead of the cluster"
    output.add_argument("--print", action="store_true", help=about)
    about = "write the Secret as YAML to a new file that only you can read"
    output.add_argument("--print-to", metavar="FILE", default="", help=about)
    about = "say what would be done, without a login"
    output.add_argument("--dry-run", action="store_true", help=about)
