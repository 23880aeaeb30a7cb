"""The webhook, which the driver can do without: its configuration and its pods."""

from collections.abc import Iterator
from typing import Any

from csidriver.core.names import WEBHOOK
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.driver_checks import logs, replicas
from csidriver.kubectl.doctor.finding import Finding, ok, problem, warning
from csidriver.kubectl.errors import Forbidden, NotFound

_CONFIGURATION = "MutatingWebhookConfiguration"
_PODS = "webhook pods"
_ABSENT = (
    "there is no webhook: pods get tokens from volumes alone, not from the annotation to-inject"
)
_INSTALL = "install the driver again, with webhook.enabled"


def check_webhook_configuration(kubectl: Kubectl, namespace: str) -> Iterator[Finding]:
    try:
        configuration = _configuration(kubectl)
    except NotFound:
        if _exists(kubectl, "deployment", f"--namespace={namespace}"):
            text = f"the webhook runs, but there is no {_CONFIGURATION} {WEBHOOK}"
            yield problem("webhook", text, _INSTALL)
        else:
            yield warning("webhook", _ABSENT, _INSTALL)
        return
    bundles = [entry["clientConfig"].get("caBundle") for entry in configuration["webhooks"]]
    if bundles and all(bundles):
        yield ok("webhook", "the API server knows the webhook and its CA")
    else:
        yield problem(
            "webhook",
            f"{_CONFIGURATION} {WEBHOOK} has no caBundle, so annotated pods are refused",
            logs(namespace, "webhook"),
        )


def check_webhook_pods(kubectl: Kubectl, namespace: str) -> Iterator[Finding]:
    try:
        deployment = kubectl.get("deployment", WEBHOOK, f"--namespace={namespace}")
    except NotFound:
        if _exists(kubectl, _CONFIGURATION):
            text = f"there is no Deployment {namespace}/{WEBHOOK}, so annotated pods are refused"
            yield problem(_PODS, text, _INSTALL)
        return
    yield replicas(_PODS, "webhook", deployment)


def _configuration(kubectl: Kubectl) -> Any:
    return kubectl.get(_CONFIGURATION, WEBHOOK)


def _exists(kubectl: Kubectl, kind: str, *where: str) -> bool:
    try:
        kubectl.get(kind, WEBHOOK, *where)
    except (NotFound, Forbidden):
        return False
    return True
