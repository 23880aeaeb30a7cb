"""The contract for programs that watch a token file: docs/watching-token-files.md."""

import json
from pathlib import Path

import pytest

from tests.e2e.user_namespace import (
    CLIENT,
    PYTHON,
    UserNamespace,
    inject,
    pod,
    python,
    secret,
    volume,
)
from tests.issuer.issuer import ScriptedIssuer

_WATCHER = (Path(__file__).parent / "pods/watcher.py").read_text(encoding="utf-8")
_MODIFY, _CLOSE_WRITE = 0x2, 0x8  # <sys/inotify.h>


@pytest.mark.parametrize(
    "path", ["/tmp/oauthtk_1000", "/token/token"], ids=["sub_path", "directory"]
)
def test_a_pod_that_watches_is_told_of_each_token_once(
    user: UserNamespace, issuer: ScriptedIssuer, path: str
) -> None:
    by_hand = [volume("mine", owner="1000")] if path.startswith("/token") else []
    user.apply(
        secret("mine", issuer.seed(CLIENT)),
        pod(
            "watcher",
            {} if by_hand else inject("mine", 1000),
            volumes=by_hand,
            main=python(user.cluster.image, "import time; time.sleep(3600)"),
            securityContext={"runAsUser": 1000, "runAsGroup": 1000},
        ),
    )
    user.wait_until_running("watcher")
    first, *changes = json.loads(user.execute("watcher", PYTHON, "-c", _WATCHER, path, "3"))
    for before, now in zip([first, *changes], changes, strict=False):
        assert now["inode"] == before["inode"]
        assert now["content"] != before["content"]
        assert issuer.verify(now["content"]) is not None
        assert now["mtime"] > before["mtime"]
        assert now["ctime"] > before["ctime"]
        assert is_one_change(now["file"]), now["file"]
        if by_hand:
            assert is_one_change(now["folder"]), now["folder"]
        else:
            assert now["folder"] == [], "the folder is of another file system"


def is_one_change(masks: list[int]) -> bool:
    """Return True for changes, and one close by a writer after them."""
    *earlier, last = masks
    return last == _CLOSE_WRITE and set(earlier) == {_MODIFY}
