"""SIGKILL at every step of a publish, a rewrite, an unpublish and a start.

A first run of each, the rehearsal, tells the steps; then one plugin after the other dies at each of
them. What is there to see then must be right, and one call of kubelet must put everything right.
"""

import os
import random
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from csidriver.adapters.mounts import Mounts
from tests.node.killable_child import ANSWER
from tests.node.killable_plugin import Mortal, Zygote, mortal
from tests.node.plugin import eventually, names

pytestmark = pytest.mark.mounts

PAGE = 4096
# More do not help: a case waits more than it works.
SIDE_BY_SIDE = 4
# F_SETLEASE with F_WRLCK, then with F_UNLCK.
LEASED, RELEASED = "fcntl 1024 1", "fcntl 1024 2 done"

Act = Callable[[Mortal], None]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as zygote:
        yield zygote


def rehearsed(zygote: Zygote, play: Act, essential: list[str]) -> list[str]:
    """The steps that `play` records; the essential ones are among them, in this order."""
    with mortal(zygote) as node:
        play(node)
        steps = node.recorded()
    left = iter(steps)
    assert all(step in left for step in essential), steps
    return steps


def killed_at_each(zygote: Zygote, steps: list[str], case: Callable[[Mortal, int], None]) -> None:
    """Play a case once per step, several at a time; tell for which steps it failed."""

    def failure(at: int) -> str:
        with mortal(zygote) as node:
            try:
                case(node, at)
                assert node.recorded() == steps[: at + 1]
            except Exception as error:  # noqa: BLE001 - every failing step is to be told
                return f"{at}, {steps[at]}: {type(error).__name__}: {error}"
        return ""

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        failures = [text for text in pool.map(failure, range(len(steps))) if text]
    assert not failures, "\n".join(failures)


def dies(node: Mortal, call: Callable[[], object]) -> None:
    """The plugin dies in a call; kubelet sees UNAVAILABLE and will call again."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    node.bury()


def nothing(node: Mortal) -> None:
    """A node where nothing was published yet."""
    node.give("at-1")


def leave_published(node: Mortal, value: str = "at-1") -> None:
    """A volume whose plugin has died since."""
    node.give(value)
    node.start()
    node.publish(node.request())
    node.kill()


def lose_record(node: Mortal) -> None:
    """A volume that a pod uses and nobody knows."""
    leave_published(node)
    (node.folder() / "volume.json").unlink()


def restart_follows(node: Mortal) -> None:
    """A new plugin finds a new token; it brings it to a volume with a record by itself."""
    recorded = (node.folder() / "volume.json").exists()
    node.give("at-2", 2)
    node.start()
    if recorded:
        eventually(lambda: node.content() == "at-2", "the rotation")


def publish_converges(node: Mortal) -> None:
    node.publish(node.request())
    assert node.content() == "at-2"
    node.tidy("v1")
    node.give("at-3", 3)
    eventually(lambda: node.content() == "at-3", "the rotation")
    unpublish_converges(node)


def unpublish_converges(node: Mortal) -> None:
    node.unpublish()
    assert not node.target().exists()
    node.tidy()


@pytest.mark.parametrize("before", [nothing, lose_record])
@pytest.mark.parametrize("next_call", [publish_converges, unpublish_converges])
def test_a_kill_at_any_step_of_a_publish_is_mended_by_one_call(
    zygote: Zygote, before: Act, next_call: Act
) -> None:
    def play(node: Mortal) -> None:
        before(node)
        node.launch("rpc")
        assert node.serves()
        node.publish(node.request())

    def case(node: Mortal, at: int) -> None:
        before(node)
        node.launch("rpc", at)
        assert node.serves()
        dies(node, lambda: node.publish(node.request()))
        if node.mounted():
            assert names(node.target()) == ["token"]
            assert node.content() == "at-1"
        restart_follows(node)
        next_call(node)

    first = ["mkdir tokens/VOLUME", "write", "link data/token", "mkdir v1/mount", "mount done"]
    essential = [*(first if before is nothing else []), "rename VOLUME/volume.json", ANSWER]
    killed_at_each(zygote, rehearsed(zygote, play, essential), case)


@pytest.mark.parametrize("next_call", [publish_converges, unpublish_converges])
def test_a_kill_at_any_step_of_an_unpublish_is_mended_by_one_call(
    zygote: Zygote, next_call: Act
) -> None:
    """Also when the pod comes back: a record means a whole file, so it goes before the file."""

    def play(node: Mortal) -> None:
        leave_published(node)
        node.launch("rpc")
        assert node.serves()
        node.unpublish()

    def case(node: Mortal, at: int) -> None:
        leave_published(node)
        node.launch("rpc", at)
        assert node.serves()
        dies(node, node.unpublish)
        restart_follows(node)
        next_call(node)

    essential = ["truncate data/token", "remove data/token", "umount2", "rmdir v1/mount"]
    steps = rehearsed(zygote, play, [*essential, "rmdir tokens/VOLUME", ANSWER])
    killed_at_each(zygote, steps, case)


@pytest.mark.parametrize("before", [nothing, leave_published])
def test_a_kill_at_any_step_of_a_start_is_mended_by_the_next_start(
    zygote: Zygote, before: Act
) -> None:
    def launch(node: Mortal, at: int = -1) -> None:
        before(node)
        if before is leave_published:
            (node.state / ("0" * 32) / "data").mkdir(parents=True)
        node.launch("MainThread", at)

    def play(node: Mortal) -> None:
        launch(node)
        assert node.serves()

    def case(node: Mortal, at: int) -> None:
        launch(node, at)
        node.bury()
        restart_follows(node)
        publish_converges(node)

    essential = ["mount done", "rename oauth2.csi.cern.ch/csi.sock"]
    killed_at_each(zygote, rehearsed(zygote, play, essential), case)


@pytest.mark.parametrize(
    ("old", "new"),
    [(10, 10), (10, 1000), (1000, 10), (9000, 12000), (12000, 9000), (10, 9000), (9000, 10)],
)
def test_a_kill_at_any_step_of_a_rewrite_leaves_a_whole_token(
    zygote: Zygote, old: int, new: int
) -> None:
    """With nothing but newlines behind it, which only a call after the last write can cut off."""

    def launch(node: Mortal, at: int = -1) -> None:
        leave_published(node, "o" * old)
        node.give("n" * new, 2)
        node.launch("rotation", at)

    def play(node: Mortal) -> None:
        launch(node)
        assert node.serves()
        # Nobody may read: the file would be busy, and that takes other steps.
        eventually(lambda: RELEASED in node.recorded(), "the release")

    def case(node: Mortal, at: int) -> None:
        launch(node, at)
        node.bury()
        seen = node.content()
        assert seen.rstrip("\n") in ("o" * old, "n" * new)
        if old <= new <= PAGE:
            assert not seen.endswith("\n")
        node.start()
        eventually(lambda: node.content() == "n" * new, "the rotation")
        node.give("at-2", 3)
        eventually(lambda: node.content() == "at-2", "the rotation")
        publish_converges(node)

    room = ["fallocate"] if old <= PAGE < new else []
    essential = ["open data/token", LEASED, *room, "pwrite", "ftruncate done", RELEASED]
    steps = rehearsed(zygote, play, essential)
    # Whoever sees the same token once more looks into the file once more.
    killed_at_each(zygote, steps[: steps.index(RELEASED) + 1], case)


def contents_after_kills(zygote: Zygote, file: Path, *, plainly: bool) -> Iterator[str]:
    """What is in a file whenever its writer was killed at a random instant."""
    rng = random.Random(0)  # noqa: S311 - the kernel's timing decides anyway
    contents, pause = ["o" * 60_000, "n" * 40_000], threading.Event()
    for _ in range(200):
        file.write_text(contents[0], encoding="utf-8")
        pid = zygote.ask(rewrite=str(file), contents=contents, plainly=plainly)
        pause.wait(rng.uniform(0.001, 0.004))
        os.kill(pid, signal.SIGKILL)
        assert zygote.ask(wait=pid) == -signal.SIGKILL
        yield file.read_text(encoding="utf-8").rstrip("\n")


def torn(contents: Iterable[str]) -> int:
    return sum(content not in ("o" * 60_000, "n" * 40_000) for content in contents)


@pytest.fixture
def file(zygote: Zygote) -> Iterator[Path]:
    """A file on a tmpfs that the zygote sees too."""
    with mortal(zygote) as node:
        pods = node.kubelet_dir / "pods"
        Mounts().mount_tmpfs(pods, size=1 << 20, inodes=10)
        yield pods / "token"


def test_no_kill_in_the_middle_of_a_large_write_tears_it(zygote: Zygote, file: Path) -> None:
    assert torn(contents_after_kills(zygote, file, plainly=False)) == 0


def test_kills_tear_large_writes_made_with_pwrite(zygote: Zygote, file: Path) -> None:
    """Proves that the count of the test before can be anything but zero."""
    assert torn(contents_after_kills(zygote, file, plainly=True)) > 0
