import time
from contextlib import ExitStack

import grpc
import pytest

from csidriver.node.publish_wait import MAX_REMEMBERED, PublishWaitLimiter
from tests.node.plugin import Node, ShiftedClock


def allowed_waits(
    limiter: PublishWaitLimiter, volume_id: str = "csi-v1", calls: int = 1
) -> list[float]:
    """How long so many calls, one after the other, may wait."""
    found = []
    for _ in range(calls):
        with limiter.allowed_wait(volume_id) as seconds:
            found.append(seconds)
    return found


def test_each_call_waits_twice_as_long_as_the_one_before() -> None:
    limiter = PublishWaitLimiter(10.0, 1, ShiftedClock())
    assert allowed_waits(limiter, calls=2000)[:5] == [10, 20, 40, 60, 60]


def test_volumes_are_counted_apart() -> None:
    limiter = PublishWaitLimiter(1.0, 1, ShiftedClock())
    assert allowed_waits(limiter, "csi-v1", 3) == [1, 2, 4]
    assert allowed_waits(limiter, "csi-v2", 2) == [1, 2]
    limiter.forget("csi-v1")
    limiter.forget("unknown")
    assert allowed_waits(limiter, "csi-v1") == [1]
    assert allowed_waits(limiter, "csi-v2") == [4]


def test_of_too_many_volumes_the_one_idle_longest_is_forgotten() -> None:
    limiter = PublishWaitLimiter(1.0, 1, ShiftedClock())
    for others, expected in ((MAX_REMEMBERED - 1, 2), (MAX_REMEMBERED, 1)):
        limiter.forget("csi-v1")
        allowed_waits(limiter, "csi-v1")
        for number in range(others):
            allowed_waits(limiter, f"csi-other-{number}")
        assert allowed_waits(limiter, "csi-v1") == [expected]


def test_a_call_without_a_free_slot_neither_waits_nor_counts() -> None:
    limiter = PublishWaitLimiter(1.0, 2, ShiftedClock())
    with ExitStack() as running:
        for volume in ("csi-a", "csi-b"):
            running.enter_context(limiter.allowed_wait(volume))
        assert allowed_waits(limiter, calls=3) == [0, 0, 0]
    with pytest.raises(RuntimeError), limiter.allowed_wait("csi-a"):
        raise RuntimeError
    assert allowed_waits(limiter, calls=2) == [1, 2]


@pytest.mark.mounts
def test_a_volume_waits_longer_each_time_until_it_is_unpublished(stopped_node: Node) -> None:
    stopped_node.start(publish_wait=0.05)
    request = stopped_node.request()
    for wait in (0.05, 0.1, 0.2):
        before = time.monotonic()
        assert stopped_node.refused(request)[0] is grpc.StatusCode.UNAVAILABLE
        assert time.monotonic() - before >= wait
    stopped_node.unpublish()
    assert allowed_waits(stopped_node.plugin._volumes._waits) == [0.05]
