from collections.abc import Callable, Sequence

import pytest

from csidriver.core.names import SourceRef
from csidriver.kubectl.errors import KubectlFailed, LoginFailed
from csidriver.kubectl.login.first_refresh import TokenStatus, read_status, wait_until_ready
from tests.kubectl.login.authorization_server import VirtualClock
from tests.kubectl.login.fake_cluster import FakeKubectl, source

REF = SourceRef("physics", "hello")
T1, T2 = "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"

Step = Callable[[FakeKubectl], None]


def says(**values: str) -> Step:
    return lambda kubectl: kubectl.annotate(**values)


def wait(steps: Sequence[Step], seconds: float = 10, *first: Step) -> tuple[TokenStatus, list[str]]:
    """Wait while a refresher makes a step per second."""
    kubectl, clock, said = FakeKubectl(), VirtualClock(), list[str]()
    kubectl.put(source())
    for step in first:
        step(kubectl)
    rest = list(steps)
    clock.after_wait = lambda: rest.pop(0)(kubectl) if rest else None
    before = read_status(kubectl, REF)
    return wait_until_ready(kubectl, REF, before, seconds, clock, said.append), said


READY = says(status="Ready", refreshed_at=T2, expires_at="2026-01-01T01:00:00Z", message="fresh")
PENDING = says(status="Pending", message="the first refresh is under way")


def test_it_ends_when_the_token_is_ready() -> None:
    away = [says(status=status, message="wait") for status in ("Uncertain", "IssuerUnavailable")]
    found, said = wait([PENDING, PENDING, *away, READY])
    assert found == TokenStatus("Ready", T2, "2026-01-01T01:00:00Z", "fresh")
    pending = "Pending: the first refresh is under way"
    assert said == [pending, "Uncertain: wait", "IssuerUnavailable: wait"]


@pytest.mark.parametrize("status", ["Ready", "NeedsReauth"])
def test_the_status_before_the_login_does_not_count(status: str) -> None:
    found, _ = wait([lambda _: None, PENDING, READY], 10, says(status=status, refreshed_at=T1))
    assert found.refreshed_at == T2


def test_the_wait_has_an_end_that_names_the_status() -> None:
    with pytest.raises(LoginFailed, match="within 3 s; it is Pending: the first refresh"):
        wait([PENDING], 3)
    with pytest.raises(LoginFailed, match="it has no status; see: kubectl oauth2-csi doctor"):
        wait([], 3)


def test_a_cluster_that_does_not_answer_for_a_while_is_waited_for() -> None:
    class Flaky(FakeKubectl):
        failures = 2

        def get_text(self, *arguments: str) -> str:
            text = super().get_text(*arguments)
            self.failures -= 1
            if self.failures >= 0:
                raise KubectlFailed("connection refused")
            return text

    kubectl, clock = Flaky(), VirtualClock()
    kubectl.put(source())
    READY(kubectl)
    assert wait_until_ready(kubectl, REF, TokenStatus(), 10, clock, print).status == "Ready"
    assert clock.waits == [1, 1]


def test_a_secret_that_is_deleted_ends_the_wait() -> None:
    with pytest.raises(LoginFailed, match="has deleted Secret physics/hello after the login"):
        wait([PENDING, lambda kubectl: kubectl.objects.clear()])


def test_a_failure_is_told_at_once_and_cannot_pass_for_lines_of_ours() -> None:
    message = "lab: refused\n\nerror: forged " + "x" * 5000
    with pytest.raises(LoginFailed) as failure:
        wait([PENDING, says(status="ClientRejected", message=message)])
    text = str(failure.value)
    assert "physics/hello, but it is ClientRejected: lab: refused error: forged x" in text
    assert len(text) < 2200
