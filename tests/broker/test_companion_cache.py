from csidriver.broker.companion_cache import CompanionCache
from csidriver.broker.updates import ABSENT, CompanionState

FIRST, SECOND = CompanionState(b"1"), CompanionState(b"2")


class Recorder:
    def __init__(self) -> None:
        self.offered: list[CompanionState] = []

    def offer(self, state: CompanionState) -> None:
        self.offered.append(state)


def test_a_follower_gets_the_state_now_and_after_each_change() -> None:
    cache, follower = CompanionCache(), Recorder()
    cache.put("a", FIRST)
    cache.follow("a", follower)
    cache.put("b", SECOND)
    cache.put("a", SECOND)
    cache.put("a", None)
    assert follower.offered == [FIRST, SECOND, ABSENT]
    assert len(cache) == 1


def test_an_absent_companion_can_be_followed() -> None:
    cache, follower = CompanionCache(), Recorder()
    cache.follow("a", follower)
    cache.put("a", FIRST)
    assert follower.offered == [ABSENT, FIRST]


def test_all_followers_share_a_state_until_they_leave() -> None:
    cache, one, other = CompanionCache(), Recorder(), Recorder()
    cache.follow("a", one)
    cache.follow("a", other)
    cache.put("a", FIRST)
    assert one.offered[-1] is other.offered[-1] is FIRST
    cache.unfollow("a", one)
    cache.unfollow("a", one)
    cache.put("a", SECOND)
    cache.unfollow("a", other)
    cache.put("a", None)
    assert one.offered == [ABSENT, FIRST]
    assert other.offered == [ABSENT, FIRST, SECOND]
    assert cache._followers == {}
