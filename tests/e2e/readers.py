"""Pods that read their token file a thousand times a second and check every read."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.cluster import until
from tests.e2e.user_namespace import CLIENT, UserNamespace, inject, on, pod, python, secret, volume
from tests.issuer.issuer import ScriptedIssuer

_SCRIPT = (Path(__file__).parent / "pods/reader.py").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Reader:
    """Names a pod that reads; see `pods/reader.py`."""

    user: UserNamespace
    name: str
    node: str = ""

    def tally(self) -> dict[str, Any]:
        """Return the reader's totals, see csidriver.demo.reader, and how often it failed."""
        (container,) = self.user.get("pod", self.name)["status"]["containerStatuses"]
        return tally_of(self.log()) | {"restarts": container["restartCount"]}

    def log(self) -> list[str]:
        return self.user.kubectl("logs", self.name, "--tail=3").splitlines()

    def last_change(self) -> float:
        """Return the time of the first read of the current token, in epoch seconds."""
        return float(tally_of(self.log())["first_reads"][-1][1])

    def has_only_read_valid_tokens(self) -> bool:
        """Return True if it read only valid tokens, always from the same file."""
        return is_clean(self.tally())


def wait_for_next_token(readers: Sequence[Reader], seconds: float = 60) -> None:
    """Wait until each has read a token that it has not read before now."""
    begin = time.time()
    names = ", ".join(reader.name for reader in readers)
    until(f"new tokens of {names}", lambda: min(r.last_change() for r in readers) > begin, seconds)


def is_clean(tally: dict[str, Any]) -> bool:
    bad = tally["torn"] + tally["expired"] + tally["inode_changes"] + tally.get("restarts", 0)
    return bool(tally["reads"] > 0 and bad == 0)


def tally_of(lines: list[str]) -> dict[str, Any]:
    tallies = [found for line in lines if "reads" in (found := json.loads(line))]
    return dict(tallies[-1])


def start(
    user: UserNamespace,
    issuer: ScriptedIssuer,
    *,
    named: str = "",
    nodes: Sequence[str] = ("",),
    seconds_after_sigterm: int = 0,
) -> list[Reader]:
    """Start on each node one reader through a subPath mount and one through a directory mount.

    Tokens come from `issuer`, whose name in the driver is `named` (empty: the default issuer). The
    readers read on for `seconds_after_sigterm`. A node without a name is any node.
    """
    key = issuer.signing_key.hex()
    image = user.cluster.image

    def main(path: str) -> dict[str, Any]:
        return python(image, _SCRIPT, path, key, str(seconds_after_sigterm))

    user.apply(secret("readers", issuer.seed(CLIENT), issuer=named))
    readers = []
    for node in nodes:
        grace = seconds_after_sigterm + 15 if seconds_after_sigterm else 1
        common = {"terminationGracePeriodSeconds": grace, **on(node)}
        sub_path, directory = (
            Reader(user, f"{kind}-{node}".strip("-"), node) for kind in ("sub-path", "directory")
        )
        user.apply(
            pod(
                sub_path.name,
                inject("readers", 0),
                main=main("/tmp/oauthtk_0"),
                securityContext={"runAsUser": 0},
                **common,
            ),
            pod(
                directory.name,
                volumes=[volume("readers", owner="65532")],
                main=main("/token/token"),
                **common,
            ),
        )
        readers += [sub_path, directory]
    for reader in readers:
        user.wait_until_running(reader.name)
        until("it reads", reader.log)
    return readers
