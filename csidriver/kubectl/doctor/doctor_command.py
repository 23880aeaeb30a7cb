"""The subcommand `doctor`: all findings at once. Nothing is presented to an issuer."""

import argparse
from collections.abc import Iterator
from functools import partial
from typing import Any

from csidriver.core.names import PUBLIC_ISSUERS
from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.errors import InvalidSettings, NotReady
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.broker_checks import (
    check_broker,
    check_broker_ca,
    check_broker_reach,
    check_isolation,
)
from csidriver.kubectl.doctor.check_runner import INSTALL, Answers, Check, run_checks
from csidriver.kubectl.doctor.diagnosis import summary, to_document, to_lines
from csidriver.kubectl.doctor.driver_checks import (
    check_csi_driver,
    check_lease,
    check_nodes,
    check_refresher,
    logs,
)
from csidriver.kubectl.doctor.finding import Finding, ok, problem
from csidriver.kubectl.doctor.issuer_checks import check_issuer
from csidriver.kubectl.doctor.user_checks import check_rights, check_tokens
from csidriver.kubectl.doctor.webhook_checks import check_webhook_configuration, check_webhook_pods
from csidriver.kubectl.errors import Forbidden, KubectlFailed, LoginFailed, NotFound
from csidriver.kubectl.login.https_request import HttpsClient
from csidriver.kubectl.login.issuer_choice import Wanted, find_issuer
from csidriver.kubectl.output.documents import to_json
from csidriver.kubectl.published_issuers import read_published_issuers
from csidriver.kubectl.status import where
from csidriver.kubectl.terminal import Terminal

# Seconds of one request, and of all requests of a check.
REQUEST_SECONDS, CHECK_SECONDS = 10.0, 30.0
_CLUSTER = "Driver in the cluster"
_DESCRIPTION = """\
Check an issuer from this machine, the driver in the cluster, your rights and your tokens. Nothing
is presented to the issuer: no token, no client.
"""


def add(subparsers: Any) -> None:
    about = "check issuer, driver and rights; say for each finding what helps"
    parser = subparsers.add_parser("doctor", help=about, description=_DESCRIPTION)
    about = "a configured issuer; by default all that are open to the namespace"
    parser.add_argument("issuer", nargs="?", default="", metavar="ISSUER", help=about)
    about = "the address of an issuer, configured or not"
    parser.add_argument("--issuer-url", metavar="URL", default="", help=about)
    about = "look at the tokens of all namespaces"
    parser.add_argument("-A", "--all-namespaces", action="store_true", help=about)
    about = "file with the CA of the issuer; default: those of the system"
    parser.add_argument("--ca-file", metavar="FILE", default="", help=about)
    parser.add_argument("-o", "--output", choices=("json",), default="", help="another form")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, kubectl: Kubectl, terminal: Terminal) -> int:
    https = HttpsClient(args.ca_file, REQUEST_SECONDS)
    bounded = kubectl.with_timeout(REQUEST_SECONDS)
    try:
        answers = Examination(args, bounded, https).run()
    finally:
        bounded.close()
    if args.output:
        terminal.print(to_json(to_document(answers)))
    else:
        for line in to_lines(answers):
            terminal.print(line)
    problems, text = summary(answers)
    terminal.report(f"error: {text}" if problems else text)
    return 1 if problems else 0


class Examination:
    """The checks that follow from a command line."""

    def __init__(self, args: argparse.Namespace, kubectl: Kubectl, https: HttpsClient) -> None:
        self._args = args
        self._kubectl = kubectl
        self._https = https
        # Empty and None until the cluster has answered.
        self._namespace = ""
        self._issuers: Issuers | None = None

    def run(self) -> Answers:
        """Ask the cluster one question; if it answers, ask all others at the same time.

        A credential plugin may have to ask the user something, and not many times at once.
        """
        first = Check(_CLUSTER, "cluster", "the cluster", self._read_issuers)
        published = run_checks([first], CHECK_SECONDS)
        of_issuers = self._of_issuers()
        of_cluster = self._of_cluster() if self._namespace else []
        answers = run_checks([*of_issuers, *of_cluster], CHECK_SECONDS)
        end = len(of_issuers)
        return [*answers[:end], *published, *answers[end:]]

    def _read_issuers(self) -> Iterator[Finding]:
        namespace, driver = "", self._args.driver_namespace
        try:
            namespace = self._kubectl.namespace()
            self._issuers = read_published_issuers(self._kubectl, driver)
        except KubectlFailed as error:
            text = f"the cluster does not answer: {error}"
            yield problem("cluster", text, "run: kubectl cluster-info")
            return
        except Forbidden:
            # Said also of a namespace that does not exist.
            text = "which every user may see where the driver is installed"
            yield problem("issuers", f"you may not see {driver}/{PUBLIC_ISSUERS}, {text}", INSTALL)
        except NotFound as error:
            yield problem("issuers", str(error), INSTALL)
        except (NotReady, InvalidSettings) as error:
            yield problem("issuers", str(error), logs(driver, "refresher"))
        else:
            yield _published(self._issuers)
        self._namespace = namespace

    def _of_issuers(self) -> list[Check]:
        try:
            chosen = self._choose()
        except LoginFailed as error:
            found = [problem("issuer", str(error))]
            return [Check("Issuer", "issuer", "the issuer", lambda: found)]
        return [
            Check(
                f"Issuer {issuer.name or issuer.issuer} from this machine",
                "metadata",
                "the metadata",
                partial(check_issuer, self._https, issuer, self._namespace),
            )
            for issuer in chosen
        ]

    def _choose(self) -> list[Issuer]:
        """Return the issuers to check; none if no name is known, which is a finding by itself."""
        if self._issuers is None and not self._args.issuer_url:
            return []
        published = self._issuers or Issuers()
        wanted = Wanted(self._args.issuer, self._args.issuer_url)
        if chosen := find_issuer(wanted, published):
            return [chosen]
        return [each for each in published.by_name.values() if each.is_open_to(self._namespace)]

    def _of_cluster(self) -> list[Check]:
        kubectl, driver, namespace = self._kubectl, self._args.driver_namespace, self._namespace
        of_driver = {
            ("refresher", "the refresher's Deployment"): check_refresher,
            ("lease", "the refresher's Lease"): check_lease,
            ("nodes", "the DaemonSet of the nodes"): check_nodes,
            ("broker", "the broker's Deployment"): check_broker,
            ("broker CA", "the CAs of the broker"): check_broker_ca,
            ("broker reach", "the events of pods"): check_broker_reach,
            ("isolation", "what kubelets may do"): check_isolation,
            ("webhook", "the webhook's configuration"): check_webhook_configuration,
            ("webhook pods", "the webhook's Deployment"): check_webhook_pods,
        }
        place = "all namespaces" if self._args.all_namespaces else f"namespace {namespace}"
        tokens = partial(
            check_tokens,
            kubectl,
            where("" if self._args.all_namespaces else namespace),
            self._issuers or Issuers(),
            self._args.issuer,
        )
        rights = partial(check_rights, kubectl, namespace)
        csi_driver = partial(check_csi_driver, kubectl)
        return [
            Check(_CLUSTER, "CSIDriver", "the CSIDriver object", csi_driver),
            *(Check(_CLUSTER, *key, partial(f, kubectl, driver)) for key, f in of_driver.items()),
            Check("You", "rights", "your rights", rights),
            Check(f"Tokens in {place}", "tokens", f"the Secrets of {place}", tokens),
        ]


def _published(issuers: Issuers) -> Finding:
    if not issuers.by_name:
        text = "no issuer is configured, so no token is refreshed"
        return problem("issuers", text, "the operator configures an issuer")
    return ok("issuers", f"the refresher publishes: {', '.join(issuers.by_name)}")
