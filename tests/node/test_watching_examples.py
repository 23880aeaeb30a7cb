"""The examples of docs/watching-token-files.md."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.node.plugin import Node, eventually, sub_path_mount

pytestmark = pytest.mark.mounts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/watching-token-files.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
INOTIFYWAIT, POLLING = [text for language, text in BLOCKS if language == "sh"]
(PYTHON,) = [text for language, text in BLOCKS if language == "python"]
POD, ENVOY = [yaml.safe_load(text) for language, text in BLOCKS if language == "yaml"]
IN_PAGE = "/tmp/oauthtk_0"

# What the example needs of inotify-tools, for machines without it.
STAND_IN = f"""#!{sys.executable}
import select, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.node.inotify import CLOSE_WRITE, Inotify
*options, path = sys.argv[1:]
assert options == ["--quiet", "--monitor", "--event", "close_write"], options
with Inotify(Path(path), CLOSE_WRITE) as watch:
    Path(sys.argv[0] + ".started").touch()
    while select.select([watch._fd], [], []):
        for _ in watch.read():
            print(path, "CLOSE_WRITE,CLOSE", "", flush=True)
"""
# Each reload leaves what it has read in a file of its own.
RELOAD = """#!/bin/sh
cat "$TOKEN_FILE" > "$(mktemp "$RELOADS/XXXXXX")"
"""
BY_PYTHON = """
import os, subprocess, sys
for token in tokens(os.environ["TOKEN_FILE"], 0.01):
    subprocess.run(["reload"], check=True)
"""


class Program:
    """An example that runs beside a published volume, and its reloads."""

    def __init__(self, node: Node) -> None:
        self.file = sub_path_mount(node)
        self.folder = node.root / "bin"
        self._reloads = node.root / "reloads"
        for folder in (self.folder, self._reloads):
            folder.mkdir()
        self.install("reload", RELOAD)

    def install(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def reloads(self) -> list[str]:
        return sorted(path.read_text(encoding="utf-8") for path in self._reloads.iterdir())

    @contextmanager
    def running(self, *command: str) -> Iterator[None]:
        environment = {
            **os.environ,
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "TOKEN_FILE": str(self.file),
            "RELOADS": str(self._reloads),
        }
        process = subprocess.Popen(command, env=environment, process_group=0)  # noqa: S603
        try:
            yield
            assert process.poll() is None
        finally:
            os.killpg(process.pid, 9)
            process.wait()


@pytest.fixture
def program(published: Node) -> Program:
    return Program(published)


def rotate(node: Node, has_reloaded: Callable[[str], bool]) -> None:
    for generation in itertools.islice(itertools.count(2), 3):
        value = f"at-{generation}"
        node.write_token(value, generation)
        eventually(lambda value=value: has_reloaded(value), f"a reload with {value}")  # type: ignore[misc]


def test_inotifywait_reloads_once_for_each_token(published: Node, program: Program) -> None:
    started = program.install("inotifywait", STAND_IN).with_suffix(".started")
    with program.running("/bin/sh", "-c", INOTIFYWAIT.replace(IN_PAGE, str(program.file))):
        eventually(started.exists, "the watch")
        rotate(published, lambda value: program.reloads()[-1:] == [value])
    assert program.reloads() == ["at-2", "at-3", "at-4"]


def test_polling_in_a_shell_reloads_with_each_token(published: Node, program: Program) -> None:
    script = POLLING.replace(IN_PAGE, str(program.file)).replace("sleep 1", "sleep 0.02")
    with program.running("/bin/sh", "-c", script):
        eventually(lambda: program.reloads() == ["at-1"], "the first token")
        rotate(published, lambda value: program.reloads()[-1:] == [value])
    assert program.reloads() == ["at-1", "at-2", "at-3", "at-4"]


def test_polling_in_python_yields_each_token_once(published: Node, program: Program) -> None:
    with program.running(sys.executable, "-c", PYTHON + BY_PYTHON):
        eventually(lambda: program.reloads() == ["at-1"], "the first token")
        rotate(published, lambda value: program.reloads()[-1:] == [value])
    assert program.reloads() == ["at-1", "at-2", "at-3", "at-4"]


def test_envoy_finds_a_resource_where_it_watches(node: Node) -> None:
    (volume,), (container,) = POD["volumes"], POD["containers"]
    attributes = volume["csi"]["volumeAttributes"]
    node.write_token("at-1")
    node.publish(node.request(attributes=attributes))
    file = node.target() / attributes["fileName"]
    (resource,) = yaml.safe_load(file.read_text(encoding="utf-8"))["resources"]
    credential: dict[str, Any] = ENVOY["credential"]
    assert resource["name"] == credential["name"]
    assert resource["generic_secret"]["secret"] == {"inline_string": "Bearer at-1"}
    source = credential["sds_config"]["path_config_source"]
    (mount,) = container["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert source["path"] == f"{mount['mountPath']}/{file.name}"
    assert source["watched_directory"] == {"path": mount["mountPath"], "watch_modify": True}
