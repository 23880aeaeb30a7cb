"""SIGKILL at every step of a publish, an unpublish and a start, and in large rewrites.

A first run of each, the rehearsal, tells the steps; then one plugin after the other dies at each of
them. What is there to see then must be right, and one call of kubelet must put everything right.
"""

import os
import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import grpc
import pytest

from csidriver.adapters.mounts import Mounts
from tests.node.killable_child import RESPONSE
from tests.node.killable_plugin import ForkServer, KillablePlugin
from tests.node.plugin import names, refused
from tests.waiting import until

pytestmark = pytest.mark.mounts

# More do not help: a case waits more than it works.
SIDE_BY_SIDE = 4

Act = Callable[[KillablePlugin], None]


def rehearsed(fork_server: ForkServer, play: Act, essential: list[str]) -> list[str]:
    """The steps that `play` records; the essential ones are among them, in this order."""
    with closing(KillablePlugin(fork_server)) as node:
        play(node)
        steps = node.recorded_steps()
    left = iter(steps)
    assert all(step in left for step in essential), steps
    return steps


def killed_at_each(
    fork_server: ForkServer, steps: list[str], case: Callable[[KillablePlugin, int], None]
) -> None:
    """Play a case once per step, several at a time; tell for which steps it failed."""

    def failure(at: int) -> str:
        with closing(KillablePlugin(fork_server)) as node:
            try:
                case(node, at)
                assert node.recorded_steps() == steps[: at + 1]
            except Exception as error:  # noqa: BLE001 - every failing step is to be told
                return f"{at}, {steps[at]}: {type(error).__name__}: {error}"
        return ""

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        failures = [text for text in pool.map(failure, range(len(steps))) if text]
    assert not failures, "\n".join(failures)


def nothing(node: KillablePlugin) -> None:
    """A node where nothing was published yet."""
    node.write_token("at-1")


def leave_published(node: KillablePlugin) -> None:
    """A volume whose plugin has died since."""
    node.write_token("at-1")
    node.start()
    node.publish(node.request())
    node.kill()


def lose_record(node: KillablePlugin) -> None:
    """A volume that a pod uses and nobody knows."""
    leave_published(node)
    (node.folder() / "volume.json").unlink()


def publish(node: KillablePlugin) -> None:
    node.publish(node.request())


def unpublish(node: KillablePlugin) -> None:
    node.unpublish()


def restart_follows(node: KillablePlugin) -> None:
    """A new plugin finds a new token; it brings it to a volume with a record by itself."""
    recorded = (node.folder() / "volume.json").exists()
    node.write_token("at-2", 2)
    node.start()
    if recorded:
        until(lambda: node.content() == "at-2", "the rotation")


def converges(node: KillablePlugin, next_call: Act) -> None:
    next_call(node)
    if next_call is publish:
        assert node.content() == "at-2"
        node.assert_only_published("v1")
        node.rotate("at-3", 3)
        node.unpublish()
    assert not node.target().exists()
    node.assert_only_published()


FIRST = ["mkdir tokens/VOLUME", "write", "link data/token", "mkdir v1/mount", "mount done"]
RECORDED = ["rename VOLUME/volume.json", RESPONSE]
END = ["truncate data/token", "remove data/token", "umount2", "rmdir v1/mount", RESPONSE]


@pytest.mark.parametrize(
    ("before", "call", "essential", "next_call"),
    [
        pytest.param(nothing, publish, FIRST + RECORDED, publish, id="publish"),
        pytest.param(nothing, publish, FIRST + RECORDED, unpublish, id="publish in vain"),
        pytest.param(lose_record, publish, RECORDED, publish, id="adopt"),
        pytest.param(leave_published, unpublish, END, unpublish, id="unpublish"),
        # A record means a whole file, so it goes before the file.
        pytest.param(leave_published, unpublish, END, publish, id="the pod comes back"),
    ],
)
def test_a_kill_at_any_step_of_a_call_is_mended_by_one_call(
    fork_server: ForkServer, before: Act, call: Act, essential: list[str], next_call: Act
) -> None:
    def launch(node: KillablePlugin, at: int = -1) -> None:
        before(node)
        node.launch("rpc", at)
        assert node.wait_until_serving()

    def play(node: KillablePlugin) -> None:
        launch(node)
        call(node)

    def case(node: KillablePlugin, at: int) -> None:
        launch(node, at)
        assert refused(lambda: call(node))[0] is grpc.StatusCode.UNAVAILABLE
        node.wait_until_killed()
        if call is publish and node.mounts_at():
            assert names(node.target()) == ["token"]
            assert node.content() == "at-1"
        restart_follows(node)
        converges(node, next_call)

    killed_at_each(fork_server, rehearsed(fork_server, play, essential), case)


@pytest.mark.parametrize("before", [nothing, leave_published])
def test_a_kill_at_any_step_of_a_start_is_mended_by_the_next_start(
    fork_server: ForkServer, before: Act
) -> None:
    def launch(node: KillablePlugin, at: int = -1) -> None:
        before(node)
        if before is leave_published:
            (node.token_folder / ("0" * 32) / "data").mkdir(parents=True)
        node.launch("MainThread", at)

    def play(node: KillablePlugin) -> None:
        launch(node)
        assert node.wait_until_serving()

    def case(node: KillablePlugin, at: int) -> None:
        launch(node, at)
        node.wait_until_killed()
        restart_follows(node)
        converges(node, publish)

    essential = ["mount done", "rename oauth2.csi.cern.ch/csi.sock"]
    killed_at_each(fork_server, rehearsed(fork_server, play, essential), case)


def is_torn_by_kills(fork_server: ForkServer, *, plainly: bool, kills: int) -> bool:
    """Return True if a large file is torn whose writer was killed at a random instant."""
    rng = random.Random(0)  # noqa: S311 - the kernel's timing decides anyway
    contents, pause = ["o" * 60_000, "n" * 40_000], threading.Event()
    with closing(KillablePlugin(fork_server)) as node:
        pods = node.kubelet_dir / "pods"  # which the fork server sees, too
        Mounts().mount_tmpfs(pods, size=1 << 20, inodes=10)
        file: Path = pods / "token"
        for _ in range(kills):
            file.write_text(contents[0], encoding="utf-8")
            pid = fork_server.request(rewrite=str(file), contents=contents, plainly=plainly)
            pause.wait(rng.uniform(0.001, 0.004))
            os.kill(pid, signal.SIGKILL)
            assert fork_server.request(wait=pid) == -signal.SIGKILL
            if file.read_text(encoding="utf-8").rstrip("\n") not in contents:
                return True
    return False


def test_no_kill_in_the_middle_of_a_large_write_tears_it(fork_server: ForkServer) -> None:
    """Other than with pwrite; on a busy machine many writers hardly begin."""
    assert is_torn_by_kills(fork_server, plainly=True, kills=10_000)
    assert not is_torn_by_kills(fork_server, plainly=False, kills=150)
