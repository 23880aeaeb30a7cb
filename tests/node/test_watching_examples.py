"""The examples of docs/watching-token-files.md."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.node.plugin import Node, sub_path_mount
from tests.waiting import until

pytestmark = pytest.mark.mounts

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/watching-token-files.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
_, POLLING = [text for language, text in BLOCKS if language == "sh"]
(PYTHON,) = [text for language, text in BLOCKS if language == "python"]
POD, ENVOY = [yaml.safe_load(text) for language, text in BLOCKS if language == "yaml"]
IN_PAGE = "/tmp/oauthtk_0"

BY_PYTHON = """
import os, subprocess, sys
for token in tokens(os.environ["TOKEN_FILE"], 0.01):
    subprocess.run(["reload"], check=True)
"""


@contextmanager
def running(node: Node, *command: str) -> Iterator[Path]:
    """Run an example beside a published volume; give the folder of the tokens it has reloaded."""
    programs, reloads = node.root / "bin", node.root / "reloads"
    for folder in (programs, reloads):
        folder.mkdir()
    script = programs / "reload"
    script.write_text(f'#!/bin/sh\ncat "$TOKEN_FILE" > "$(mktemp {reloads}/XXXXXX)"\n')
    script.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TOKEN_FILE": str(sub_path_mount(node))}
    process = subprocess.Popen(command, env=environment, process_group=0)  # noqa: S603
    try:
        yield reloads
        assert process.poll() is None
    finally:
        os.killpg(process.pid, 9)
        process.wait()


@pytest.mark.parametrize("language", ["shell", "python"])
def test_polling_reloads_once_for_each_token(published: Node, language: str) -> None:
    script = POLLING.replace(IN_PAGE, '"$TOKEN_FILE"').replace("sleep 1", "sleep 0.02")
    in_shell, in_python = ("/bin/sh", "-c", script), (sys.executable, "-c", PYTHON + BY_PYTHON)
    with running(published, *(in_shell if language == "shell" else in_python)) as reloads:
        for generation in (1, 2, 3):
            wanted = [f"at-{number}" for number in range(1, generation + 1)]
            published.write_token(wanted[-1], generation)
            read = partial(lambda w: sorted(f.read_text() for f in reloads.iterdir()) == w, wanted)
            until(read, "a reload")


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
