"""The end of a refresh token: docs/protocol.md section 6."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.core import annotations
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh import effects
from csidriver.core.refresh.grant import Grant
from csidriver.core.refresh.login_expiry import next_warning, refresh_expiry, warnings_due
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import TokenWarning
from tests.core.refresh.assertions import grant, note, source
from tests.core.refresh.grants import ADOPTED
from tests.core.refresh.world import Process, Server, World

DAY = 86400.0
EXPIRING = TokenWarning.REFRESH_TOKEN_EXPIRING.value


class Ending(Server):
    """A server whose refresh tokens end at a fixed instant, or so long after each refresh."""

    ends_at: float | None = None
    slides: float | None = None

    def further(self, now: float) -> dict[str, Any]:
        """What it says about refresh tokens."""
        if self.slides is not None:
            return {"refresh_expires_in": self.slides}
        return {} if self.ends_at is None else {"refresh_expires_in": int(self.ends_at - now)}


@pytest.fixture
def ending(world: World) -> Process:
    """A token that lives for six hours, of a login that ends 30 days from now."""
    server = Ending(lifetime=6 * 3600.0)
    server.families, server.ends_at = world.server.families, world.now + 30 * DAY
    world.server = server
    process = Process(world)
    process.visit()
    return process


def told(world: World) -> list[float]:
    """How long before the end each Event of it came, in seconds."""
    end, now = grant(world).refresh_expires_at, world.now
    return [
        end - now for e in world.done if isinstance(e, effects.EmitEvent) and e.reason == EXPIRING
    ]


def events(world: World) -> int:
    return len(told(world))


def test_a_login_that_ends_is_announced_a_week_a_day_and_an_hour_ahead(ending: Process) -> None:
    world = ending.world
    ending.work(23 * DAY - 60)
    assert (events(world), note(world, annotations.WARNING)) == (0, "")
    ending.work(120)
    assert (events(world), note(world, annotations.WARNING)) == (1, EXPIRING)
    ending.work(6 * DAY - 120)
    assert events(world) == 1
    ending.work(120)
    assert events(world) == 2
    ending.work(23 * 3600 - 120)
    assert events(world) == 2
    ending.work(120)
    assert (events(world), note(world, annotations.WARNING)) == (3, EXPIRING)
    messages = [e.message for e in world.done if isinstance(e, effects.EmitEvent)]
    assert "2027-02-14T07:59:59Z" in messages[-1]


def test_a_restart_announces_nothing_twice(ending: Process) -> None:
    world = ending.world
    ending.work(24 * DAY)
    fresh = Process(world)
    fresh.restart()
    writes = world.writes
    fresh.visit()
    assert (events(world), world.writes) == (1, writes)


def test_a_new_login_ends_the_warning(ending: Process) -> None:
    world = ending.world
    ending.work(24 * DAY)
    assert isinstance(world.server, Ending)
    world.server.ends_at = world.now + 30 * DAY
    world.apply(json.dumps({"refresh_token": world.server.login("bob")}))
    ending.visit(event=True)
    assert note(world, annotations.WARNING) == ""
    assert grant(world).expiry_warnings == 0


def test_an_end_that_was_put_off_ends_the_warning(ending: Process) -> None:
    world = ending.world
    ending.work(24 * DAY)
    assert isinstance(world.server, Ending)
    world.server.ends_at = world.now + 30 * DAY
    ending.work(DAY)
    assert note(world, annotations.WARNING) == ""
    assert events(world) == 1


@pytest.mark.parametrize("slides", [1800.0, DAY, 6 * DAY])
def test_an_end_that_moves_with_every_refresh_concerns_nobody(world: World, slides: float) -> None:
    """Keycloak's idle time-out is half an hour: that is no reason to log in again."""
    server = Ending(lifetime=6 * 3600.0)
    server.families, server.slides = world.server.families, slides
    world.server = server
    process = Process(world)
    process.visit()
    process.work(3 * DAY)
    assert events(world) == 0
    assert note(world, annotations.WARNING) == ""


def test_several_warnings_stand_side_by_side(ending: Process) -> None:
    world = ending.world
    ending.work(24 * DAY)
    world.apply(json.dumps({"refresh_token": "alice-0"}))
    ending.visit(event=True)
    assert note(world, annotations.WARNING) == f"OldSeedRestored, {EXPIRING}"
    reasons = [e.reason for e in world.done if isinstance(e, effects.EmitEvent)]
    assert reasons.count("OldSeedRestored") == 1
    assert events(world) == 1


def reply(**fields: Any) -> TokenDocument:
    return TokenDocument.parse(Sensitive(json.dumps(fields)))[0]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        pytest.param({}, (0.0, True), id="a new token without a word"),
        pytest.param({"refresh_expires_in": 0}, (0.0, True), id="never"),
        pytest.param({"refresh_expires_in": -5}, (0.0, True), id="negative"),
        pytest.param({"refresh_expires_in": "soon"}, (0.0, True), id="text"),
        pytest.param({"refresh_expires_in": 2000}, (4000.0, True), id="moved on"),
        pytest.param({"refresh_expires_in": 1002}, (3002.0, False), id="fixed"),
        pytest.param({"refresh_expires_in": 10}, (2010.0, False), id="shortened"),
        pytest.param({"refresh_token": None}, (3000.0, False), id="its last word stands"),
    ],
)
def test_what_a_reply_says(running: Process, said: Any, wanted: tuple[float, bool]) -> None:
    before = grant_of(running, issued_at=1000.0, refresh_expires_at=3000.0)
    assert refresh_expiry(before, reply(**{"refresh_token": "new"} | said), 2000.0) == wanted


def test_the_first_word_is_taken_for_renewable(running: Process) -> None:
    before = grant_of(running, issued_at=1000.0, refresh_expires_at=0.0)
    said = reply(refresh_token="new", refresh_expires_in=5)
    assert refresh_expiry(before, said, 2000.0) == (2005.0, True)
    assert refresh_expiry(before, reply(), 2000.0) == (0.0, True)


def grant_of(process: Process, **changes: Any) -> Grant:
    assert process.known.grant is not None
    return replace(process.known.grant, **changes)


@given(st.floats(0, 1e10), st.floats(0, 1e10), st.booleans())
def test_a_next_step_is_ahead_and_counts_one_more(end: float, now: float, renewed: bool) -> None:  # noqa: FBT001 - hypothesis
    of = replace(ADOPTED, refresh_expires_at=end, refresh_renewed=renewed)
    following = next_warning(of, now)
    if following is None:
        assert warnings_due(of, now) in (0, 3)
    else:
        assert following > now
        assert warnings_due(of, following) > warnings_due(of, now)


def test_a_source_says_when(ending: Process) -> None:
    assert source(ending.world).data["oauth"].reveal().count("refresh_expires_in") == 1
