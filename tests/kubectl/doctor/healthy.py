"""A cluster in which nothing is wrong, as kubectl describes it, and an issuer of the same kind."""

import datetime as dt
import json
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import BROKER, BROKER_CA, PUBLIC_ISSUERS
from tests.adapters.oauth.peer import WELL_KNOWN, Peer, certificate, http
from tests.cluster.installation import manifests
from tests.kubectl.printed import NOW, secret
from tests.kubectl.stand_in import StandIn

WEBHOOK_CONFIGURATION = "MutatingWebhookConfiguration"
FORBIDDEN = 'Error from server (Forbidden): it is forbidden: User "ann" cannot get it\n'
# What a kubelet hears that NodeRestriction holds back.
RESTRICTED = (
    'Error from server (Forbidden): error when creating "STDIN": nodes "oauth2-csi-doctor" is '
    'forbidden: node "oauth2-csi-doctor" is not allowed to set the following labels: '
    "node-restriction.kubernetes.io/oauth2-csi-doctor\n"
)
ABSENT = "Error from server (NotFound): it is not found\n"
# The right that nodes had without a broker.
NODE_BINDING = {"metadata": {"namespace": "oauth2-csi-tokens", "name": "oauth2-csi-node"}}
# Seconds from the time of the golden files.
CERTIFICATE_ENDS = 90 * 86400.0
Manifest = dict[str, Any]


def manifest(kind: str, name: str) -> Manifest:
    """Return an object of `deploy/`."""
    (found,) = [each for each in manifests(kind) if each["metadata"]["name"] == name]
    return found


def deployment(name: str, ready: int = 2) -> Manifest:
    return manifest("Deployment", name) | {"status": {"readyReplicas": ready}}


def endpoints(*, ready: bool = True) -> Manifest:
    return {"items": [{"endpoints": None}, {"endpoints": [{"conditions": {"ready": ready}}]}]}


def daemon_set(ready: int = 3, wanted: int = 3) -> Manifest:
    status = {"desiredNumberScheduled": wanted, "numberReady": ready}
    return manifest("DaemonSet", "oauth2-csi-node") | {"status": status}


def lease(renewed: float = NOW - 4, holder: str = "oauth2-csi-refresher-0") -> Manifest:
    instant = format_rfc3339(renewed)
    return {"spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": instant}}


def webhook_configuration(bundle: str = "Q0E=") -> Manifest:
    found = manifest(WEBHOOK_CONFIGURATION, "oauth2-csi-webhook")
    found["webhooks"][0]["clientConfig"]["caBundle"] = bundle
    return found


def published(*entries: Manifest) -> Manifest:
    return {"data": {"issuers.json": json.dumps({"issuers": list(entries)})}}


def issuer_entry(url: str, **changes: Any) -> Manifest:
    entry = {"name": "cern", "issuer": url, "default": True, "login": {"clientID": "oauth2-csi"}}
    return entry | changes


def prepare(stand_in: StandIn, ca: str, *entries: Manifest) -> None:
    """Let the stand-in answer for the healthy cluster; `ca` is what nodes trust."""
    stand_in.answer(PUBLIC_ISSUERS, stdout=published(*entries))
    stand_in.answer("csidriver", stdout=manifest("CSIDriver", "oauth2.csi.cern.ch"))
    for name in ("oauth2-csi-refresher", "oauth2-csi-webhook", BROKER):
        stand_in.answer("deployment", name, stdout=deployment(name))
    stand_in.answer("endpointslices", stdout=endpoints())
    stand_in.answer(BROKER_CA, stdout={"data": {"ca.crt": ca}})
    stand_in.answer("events", stdout={"items": []})
    stand_in.answer("rolebindings", stdout={"items": []})
    stand_in.answer("create", "--dry-run=server", stderr=RESTRICTED, status=1)
    stand_in.answer("daemonset", stdout=daemon_set())
    stand_in.answer("lease", stdout=lease())
    stand_in.answer(WEBHOOK_CONFIGURATION, stdout=webhook_configuration())
    stand_in.answer("whoami", stdout="ann")
    answer_reads(stand_in, "secrets", stdout=secret("team-a", "hello-token"))


def answer_reads(stand_in: StandIn, *words: str, **answer: Any) -> None:
    """Answer `kubectl get`, but not the question for the right to do so."""
    stand_in.answer("get", *words, **answer)
    stand_in.answer("can-i", stdout="yes\n")
    stand_in.answer("can-i", "--subresource=token", stdout="no\n", status=1)


def date(seconds: float) -> str:
    return format_datetime(dt.datetime.fromtimestamp(seconds, dt.UTC), usegmt=True)


def metadata(url: str, **changes: Any) -> Manifest:
    document = {
        "issuer": url,
        "token_endpoint": f"{url}/token",
        "authorization_endpoint": f"{url}/authorize",
        "device_authorization_endpoint": f"{url}/device",
    }
    return {key: value for key, value in (document | changes).items() if value is not None}


class HttpsIssuer(Peer):
    """A real server with a certificate; `ca_file` has its CA. Its clock says NOW."""

    def __init__(self, folder: Path, **validity: Any) -> None:
        end = dt.timedelta(seconds=NOW - dt.datetime.now(dt.UTC).timestamp() + CERTIFICATE_ENDS + 9)
        self.ca_file, context = certificate(folder, **({"end": end} | validity))
        super().__init__(http(b"{}", "404 Not Found"), tls=context)
        self.url = f"https://{self.address}"
        self.answer()

    def answer(self, *, headers: str = f"Date: {date(NOW)}\r\n", **changes: Any) -> None:
        """Answer with this metadata and these headers."""
        body = json.dumps(metadata(self.url, **changes)).encode()
        self.by_path[WELL_KNOWN] = http(body, headers=headers)
