import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import BROKER_CA
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.doctor.broker_checks import (
    check_broker,
    check_broker_ca,
    check_broker_reach,
    check_isolation,
)
from csidriver.kubectl.doctor.finding import Level
from csidriver.kubectl.errors import Forbidden
from tests.adapters.oauth.peer import certificate
from tests.kubectl.doctor.healthy import FORBIDDEN, NODE_BINDING, endpoints
from tests.kubectl.printed import NOW
from tests.kubectl.stand_in import StandIn

NAMESPACE = "oauth2-csi"
OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
WITHOUT_BROKER = "no broker of oauth2-csi-broker.oauth2-csi.svc answers: UNAVAILABLE: refused"
pytestmark = pytest.mark.usefixtures("healthy")


def event(node: str, message: str = WITHOUT_BROKER, age: float = 10.0) -> dict[str, Any]:
    seen = format_rfc3339(NOW - age)
    return {"source": {"host": node}, "message": message, "lastTimestamp": seen}


def test_a_service_without_brokers_is_a_problem(stand_in: StandIn) -> None:
    stand_in.answer("endpointslices", stdout=endpoints(ready=False))
    pods, found = check_broker(Kubectl(), NAMESPACE)
    assert (pods.level, found.level) == (OK, PROBLEM)
    assert found.cure == "run: kubectl describe service oauth2-csi-broker -n oauth2-csi"


def test_the_ca_that_ends_last_counts(stand_in: StandIn, tmp_path: Path) -> None:
    now = dt.timedelta(seconds=NOW - dt.datetime.now(dt.UTC).timestamp())
    ends = [now + dt.timedelta(days=-1), now + dt.timedelta(days=2)]
    texts = [certificate(tmp_path, end=end)[0].read_text() for end in ends]
    findings = [
        ("", PROBLEM, "has no CA", "component=broker"),
        (texts[0], PROBLEM, "has expired", "component=broker"),
        ("".join(texts), OK, "valid for", ""),
    ]
    for text, level, message, cure in findings:
        stand_in.answer(BROKER_CA, stdout={"data": {"ca.crt": text}})
        (found,) = check_broker_ca(Kubectl(), NAMESPACE)
        assert found.level is level, found
        assert message in found.message
        assert cure in found.cure


def test_nodes_that_reach_no_broker_are_named_once(stand_in: StandIn) -> None:
    assert list(check_broker_reach(Kubectl(), NAMESPACE)) == []
    others = [event("node-c", "another text"), event("node-d", age=400.0), {"message": ""}]
    events = [event("node-b"), event("node-a"), event("node-b"), *others]
    stand_in.answer("events", stdout={"items": events})
    (found,) = check_broker_reach(Kubectl(), NAMESPACE)
    assert found.level is WARNING
    assert found.message.endswith("no broker answers on: node-a, node-b")
    assert "component=node" in found.cure


def test_kubelets_that_are_held_back_are_isolated(stand_in: StandIn) -> None:
    (found,) = check_isolation(Kubectl(), NAMESPACE)
    assert found.level is OK
    asked = [call.words for call in stand_in.calls if "--as-group=system:nodes" in call.words]
    assert ["can-i" in words for words in asked] == [True, False]
    assert "--dry-run=server" in asked[1]
    assert "--as=system:node:oauth2-csi-doctor" in asked[1]


@pytest.mark.parametrize(
    ("words", "stdout", "message", "cure"),
    [
        (["rolebindings"], {"items": [NODE_BINDING]}, "oauth2-csi-tokens/", "legacy"),
        (["can-i", "--subresource=token"], "yes\n", "the authorizer Node", "--authorization-mode"),
        (["create", "--dry-run=server"], "node/a", "NodeRestriction is off", "NodeRestriction"),
    ],
)
def test_what_lets_nodes_have_tokens_of_others_is_a_warning(
    stand_in: StandIn, words: list[str], stdout: Any, message: str, cure: str
) -> None:
    stand_in.answer(*words, stdout=stdout)
    (found,) = check_isolation(Kubectl(), NAMESPACE)
    assert found.level is WARNING
    assert message in found.message
    assert cure in found.cure


def test_who_may_not_ask_for_kubelets_learns_nothing(stand_in: StandIn) -> None:
    stand_in.answer("create", "--dry-run=server", stderr=FORBIDDEN, status=1)
    with pytest.raises(Forbidden):
        list(check_isolation(Kubectl(), NAMESPACE))
