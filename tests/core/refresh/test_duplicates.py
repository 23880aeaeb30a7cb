"""One login in two Secrets: docs/protocol.md section 2.5."""

import pytest

from csidriver.core import annotations, names
from csidriver.core.companion import Companion
from csidriver.core.names import SourceRef
from csidriver.core.refresh.effects import CreateSecret
from csidriver.core.status import Status
from tests.core.refresh.assertions import LIFE, delete, document, live, mirrored, once, source
from tests.core.refresh.world import REF, START, Process, World

COPY = SourceRef("physics", "copy")
ABROAD = SourceRef("chemistry", "copy")


def status(world: World, ref: SourceRef) -> Companion:
    return Companion.from_secret(world.secrets[names.TOKENS_NAMESPACE, ref.companion])


def copied(elder: Process, ref: SourceRef, text: str = "") -> Process:
    """Another Secret with the same document, or with another one."""
    world = elder.world
    world.now += 1
    world.apply(text or source(world).data["oauth"].reveal(), ref=ref)
    return Process(world, ref=ref)


def together(seconds: float, *processes: Process) -> None:
    """Let several tokens follow their schedules side by side."""
    world = processes[0].world
    until = world.now + seconds
    while True:
        due = [p for p in processes if p.known.next_reconcile is not None]
        first = min(due, key=lambda p: p.known.next_reconcile or 0.0, default=None)
        if first is None or (first.known.next_reconcile or 0.0) > until:
            world.now = until
            return
        world.now = max(world.now, first.known.next_reconcile or 0.0)
        first.visit()


@pytest.mark.parametrize("ref", [COPY, ABROAD])
def test_a_copied_secret_says_so_and_sends_nothing(running: Process, ref: SourceRef) -> None:
    world = running.world
    copy = copied(running, ref)
    copy.visit()
    told = status(world, ref)
    assert told.status is Status.DUPLICATE_GRANT
    assert (REF.name in told.message) is (ref.namespace == REF.namespace)
    notes = world.secrets[ref.namespace, ref.name].annotations
    assert notes[annotations.STATUS] == "DuplicateGrant"
    together(10 * LIFE, running, copy)
    assert live(world) == mirrored(world) == world.server.families["alice"][-1]
    assert len(set(world.server.tokens())) == len(world.server.tokens())
    assert status(world, REF).status is Status.READY


def test_the_elder_goes_on_when_the_younger_came_first_to_ask(running: Process) -> None:
    copy = copied(running, COPY)
    copy.visit()
    running.work(LIFE)
    assert live(running.world) == "alice-2"


@pytest.mark.parametrize("lag", [0.0, 0.5])
def test_of_two_that_are_adopted_side_by_side_one_is_sent(process: Process, lag: float) -> None:
    """As when both are in one manifest: the younger may be through before the elder is stored."""
    world = process.world

    def overtake() -> None:
        copy = copied(process, COPY)
        world.now += lag - 1
        copy.visit()

    world.after = once(lambda effect: isinstance(effect, CreateSecret), overtake)
    process.visit()
    assert world.server.tokens() == ["alice-0"]


def test_of_two_of_one_instant_the_first_by_name_is_the_elder() -> None:
    world = World()
    seed = document(world.server.login("alice"))
    world.apply(seed)
    world.apply(seed, ref=COPY)
    assert COPY < REF
    younger, elder = Process(world), Process(world, ref=COPY)
    world.may_send = False
    younger.visit()
    elder.visit()
    world.may_send = True
    together(60, younger, elder)
    assert status(world, REF).status is Status.DUPLICATE_GRANT
    assert status(world, COPY).status is Status.READY
    assert world.server.tokens() == ["alice-0"]


def test_an_old_mirror_in_another_secret_does_not_kill_the_login(running: Process) -> None:
    """The copy holds a token that the elder has replaced: presenting it would look like theft."""
    world = running.world
    old = source(world).data["oauth"].reveal()
    running.work(3 * LIFE)
    copy = copied(running, COPY, old)
    copy.visit()
    assert status(world, COPY).status is Status.DUPLICATE_GRANT
    together(40 * LIFE, running, copy)
    assert world.server.tokens().count("alice-1") == 1
    assert status(world, REF).status is Status.READY


def test_it_stays_one_for_as_long_as_the_elder_has_that_login(running: Process) -> None:
    """Twenty rotations later the two have no token in common; a restart forgets nothing."""
    world = running.world
    copy = copied(running, COPY)
    copy.visit()
    together(20 * LIFE, running, copy)
    fresh = Process(world, ref=COPY)
    fresh.visit()
    together(20 * LIFE, running, fresh)
    assert "alice-1" not in world.server.tokens()[2:]
    assert status(world, COPY).status is Status.DUPLICATE_GRANT


def test_looking_again_writes_nothing(running: Process) -> None:
    copy = copied(running, COPY)
    copy.visit()
    writes = running.world.writes
    copy.work(600)
    assert running.world.writes == writes
    assert status(running.world, COPY).status is Status.DUPLICATE_GRANT


def test_it_is_healed_when_the_elder_goes(running: Process) -> None:
    world = running.world
    copy = copied(running, COPY)
    copy.visit()
    delete(world, (REF.namespace, REF.name))
    running.visit(event=True)
    together(601 + 60, running, copy)
    assert status(world, COPY).status is Status.READY
    assert copy.known.grant is not None
    assert copy.known.grant.duplicate_of == ""
    assert world.server.tokens() == ["alice-0", "alice-1"]


def test_it_is_healed_when_the_elder_is_reseeded(running: Process) -> None:
    world = running.world
    copy = copied(running, COPY)
    copy.visit()
    world.apply(document(world.server.login("bob")))
    running.visit(event=True)
    together(61, running, copy)
    assert status(world, COPY).status is Status.READY
    assert world.server.tokens() == ["alice-0", "bob-0", "alice-1"]


def test_it_is_healed_when_it_is_reseeded_itself(running: Process) -> None:
    world = running.world
    copy = copied(running, COPY)
    copy.visit()
    world.apply(document(world.server.login("bob")), ref=COPY)
    copy.visit(event=True)
    assert status(world, COPY).status is Status.READY
    together(3 * LIFE, running, copy)
    assert status(world, REF).status is Status.READY


def test_healing_shows_a_token_that_lives_as_ready_and_respects_who_may_send(
    running: Process,
) -> None:
    world = running.world
    copy = copied(running, COPY)
    copy.visit()
    world.tokens.pop(REF)
    world.may_send = False
    world.now += 60
    copy.visit()
    assert status(world, COPY).status is Status.PENDING
    assert copy.known.next_reconcile == START + 1 + 60 + 1


def test_a_reseed_with_anothers_login_makes_the_reseeded_one_the_younger(
    running: Process,
) -> None:
    world = running.world
    other = copied(running, COPY, document(world.server.login("bob")))
    other.visit()
    world.apply(world.secrets[COPY.namespace, COPY.name].data["oauth"].reveal())
    running.visit(event=True)
    assert status(world, REF).status is Status.DUPLICATE_GRANT
    together(LIFE, running, other)
    assert status(world, COPY).status is Status.READY
    assert world.server.tokens() == ["alice-0", "bob-0", "bob-1"]


def test_strangers_do_not_concern_each_other(running: Process) -> None:
    world = running.world
    other = copied(running, COPY, document(world.server.login("bob")))
    other.visit()
    together(LIFE, running, other)
    assert {status(world, REF).status, status(world, COPY).status} == {Status.READY}
