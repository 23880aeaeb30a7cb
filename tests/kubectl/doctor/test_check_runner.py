import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pytest

from csidriver.errors import DriverError
from csidriver.kubectl.doctor.check_runner import Check, run_checks
from csidriver.kubectl.doctor.finding import Finding, Level, ok
from csidriver.kubectl.errors import Forbidden

LONG = 30.0


def check(find: Callable[[], Iterable[Finding]]) -> Check:
    return Check("section", "name", "the thing", find)


def test_checks_run_at_the_same_time_and_keep_their_order() -> None:
    meeting = threading.Barrier(3)

    def find(i: int) -> Iterator[Finding]:
        meeting.wait(LONG)
        yield ok(str(i), "it is")

    answers = run_checks([check(partial(find, i)) for i in range(3)], LONG)
    assert [found[0].check for _, found in answers] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("error", "level", "text"),
    [
        (Forbidden("no"), Level.WARNING, "you may not see the thing"),
        (DriverError("kubectl has failed"), Level.PROBLEM, "kubectl has failed"),
        (KeyError("spec"), Level.PROBLEM, "the thing cannot be understood (KeyError)"),
    ],
)
def test_every_failure_is_a_finding(error: Exception, level: Level, text: str) -> None:
    def fail() -> Iterator[Finding]:
        yield ok("a", "b")
        raise error

    ((_, found),) = run_checks([check(fail)], LONG)
    assert [(each.level, each.message) for each in found] == [(level, text)]
    assert found[0].cure.endswith("run: kubectl oauth2-csi doctor") == (level is Level.WARNING)
