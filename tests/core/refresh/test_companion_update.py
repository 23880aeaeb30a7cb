"""The companion of a token: restored, never lowered, never another owner's."""

from dataclasses import replace

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.sensitive import Sensitive
from csidriver.core.status import Status
from tests.core.refresh.assertions import (
    COMPANION,
    LIFE,
    SOURCE,
    companion,
    delete,
    document,
    live,
    mirrored,
    note,
)
from tests.core.refresh.world import (
    Process,
    World,
)


class TestMirrorAndCompanion:
    @pytest.mark.parametrize(
        "foreign",
        [
            pytest.param(Secret(*COMPANION, data={"mine": Sensitive("x")}), id="another type"),
            pytest.param(
                Secret(
                    *COMPANION,
                    type=annotations.COMPANION_TYPE,
                    annotations={
                        annotations.SOURCE_NAMESPACE: "other",
                        annotations.SOURCE_NAME: "source",
                        annotations.SOURCE_UID: "u",
                        annotations.GENERATION: "1",
                        annotations.STATUS: "Ready",
                    },
                ),
                id="another source",
            ),
        ],
    )
    def test_a_foreign_object_under_the_companions_name_is_never_touched(
        self, world: World, foreign: Secret
    ) -> None:
        stored = world.create(foreign)
        process = Process(world)
        process.visit()
        assert note(world, annotations.STATUS) == "Misconfigured"
        process.work(2 * LIFE)
        assert mirrored(world) == live(world)
        delete(world, SOURCE)
        process.visit(event=True)
        process.work(1000)
        assert world.secrets == {COMPANION: stored}
        world.apply(document(world.server.login("bob")))
        delete(world, COMPANION)
        Process(world).visit()
        assert companion(world).status is Status.READY

    def test_a_deleted_companion_is_restored_by_a_fresh_look(self, running: Process) -> None:
        world = running.world
        before = companion(world)
        delete(world, COMPANION)
        Process(world).visit()
        assert companion(world).generation == before.generation

    def test_a_companion_never_goes_back(self, running: Process) -> None:
        world = running.world
        ahead = {**world.secrets[COMPANION].annotations, annotations.GENERATION: "9"}
        world.secrets[COMPANION] = replace(world.secrets[COMPANION], annotations=ahead)
        Process(world).visit()
        assert companion(world).generation == 9
