"""`kubectl oauth2-csi status`: every token at a glance, as `kubectl get` would print it."""

import argparse
import time
from collections.abc import Sequence
from typing import Any

from csidriver.core.names import SourceRef
from csidriver.errors import DriverError
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import Forbidden
from csidriver.kubectl.output.documents import to_json, to_list, to_yaml
from csidriver.kubectl.output.table import Table
from csidriver.kubectl.status_watch import StatusWatch
from csidriver.kubectl.terminal import Terminal
from csidriver.kubectl.tokens.overview import HEADERS, WIDE_HEADERS, Overview, overviews
from csidriver.kubectl.tokens.pod_volumes import PodVolume, read_pod_volumes
from csidriver.kubectl.tokens.token import read_token, read_tokens

FORMS = ("wide", "json", "yaml", "name")


def add(subparsers: Any) -> None:
    about = "show tokens: issuer, status, expiry, next refresh, pods"
    parser = subparsers.add_parser("status", help=about, description=about)
    parser.add_argument("name", nargs="?", metavar="NAME", help="the Secret; by default all")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument("-o", "--output", choices=FORMS, default="", help="another form")
    parser.add_argument("-w", "--watch", action="store_true", help="show changes until Ctrl-C")
    parser.add_argument("--no-headers", action="store_true", help="without the line of headers")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, kubectl: Kubectl, terminal: Terminal) -> int:
    if args.name and args.all_namespaces:
        raise DriverError("a name is of one namespace: leave out NAME, or -A")
    namespace = "" if args.all_namespaces else kubectl.namespace()
    if args.name:
        tokens = [read_token(kubectl, SourceRef(namespace, args.name))]
    else:
        tokens = read_tokens(kubectl, where(namespace))
    volumes = try_read_volumes(kubectl, where(namespace)) if tokens or args.watch else []
    printer = Printer(args, terminal)
    if args.watch:
        watch = StatusWatch(kubectl, printer, where(namespace), args.name or "")
        watch.run(tokens, volumes)
    else:
        printer.print_all(overviews(tokens, volumes), namespace, single=bool(args.name))
    return 0


def where(namespace: str) -> str:
    """Return kubectl's option for a namespace, or for all if it is empty."""
    return f"--namespace={namespace}" if namespace else "--all-namespaces"


def try_read_volumes(kubectl: Kubectl, option: str) -> list[PodVolume] | None:
    """Return the volumes of pods, None if the user may not list pods."""
    try:
        return read_pod_volumes(kubectl, option)
    except Forbidden:
        return None


class Printer:
    """Prints tokens in the form that the user wants."""

    def __init__(self, args: argparse.Namespace, terminal: Terminal) -> None:
        self._form: str = args.output
        self._has_headers = not args.no_headers
        self._has_namespace: bool = args.all_namespaces
        self._terminal = terminal
        self._table = Table()
        self._is_later = False

    def print_all(self, found: Sequence[Overview], namespace: str, *, single: bool) -> None:
        """Print what there is at one time."""
        if self._form in ("json", "yaml"):
            objects = [overview.to_object() for overview in found]
            self._print_object(objects[0] if single else to_list(objects))
        elif not found and self._form != "name":
            place = f" in {namespace} namespace." if namespace else ""
            self._terminal.report(f"No resources found{place}")
        else:
            self.print_more(found)

    def print_more(self, found: Sequence[Overview]) -> None:
        """Print tokens below those printed before."""
        if self._form in ("json", "yaml"):
            for overview in found:
                self._print_object(overview.to_object())
        elif self._form == "name":
            for overview in found:
                self._terminal.print(f"secret/{overview.token.ref.name}")
        else:
            for line in self._table.lines(self._rows(found)):
                self._terminal.print(line)

    def _rows(self, found: Sequence[Overview]) -> list[Sequence[str]]:
        wide, now = self._form == "wide", time.time()
        rows: list[Sequence[str]] = [overview.row(now, wide=wide) for overview in found]
        if self._has_headers:
            rows.insert(0, WIDE_HEADERS if wide else HEADERS)
            self._has_headers = False
        return rows if self._has_namespace else [row[1:] for row in rows]

    def _print_object(self, value: Any) -> None:
        if self._form == "json":
            self._terminal.print(to_json(value))
            return
        if self._is_later:
            self._terminal.print("---")
        self._is_later = True
        self._terminal.print(to_yaml(value))
