"""`status --watch`: which rows it prints."""

import time
from collections.abc import Sequence

import pytest

from csidriver.core import annotations
from csidriver.core.names import SourceRef
from csidriver.kubectl import status_watch
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import Forbidden
from csidriver.kubectl.main import main
from csidriver.kubectl.status_watch import StatusWatch
from csidriver.kubectl.tokens.overview import Overview
from csidriver.kubectl.tokens.pod_volumes import read_pod_volumes
from csidriver.kubectl.tokens.token import read_token, read_tokens
from tests.kubectl.printed import NEEDS_REAUTH, READY, pod, secret
from tests.kubectl.stand_in import StandIn

REF = SourceRef("team-a", "mail")
ENDED = "Error from server (Forbidden): watching is forbidden\n"


class Rows:
    """Collects what a watch prints."""

    def __init__(self) -> None:
        self.printed: list[tuple[str, list[str] | None]] = []

    def print_more(self, found: Sequence[Overview]) -> None:
        for overview in found:
            pods = None if overview.pods is None else list(overview.pods)
            self.printed.append((overview.token.state, pods))


def watch(
    stand_in: StandIn, tokens: str, volumes: str | None
) -> list[tuple[str, list[str] | None]]:
    """Watch until one of the watches has failed; return the rows."""
    stand_in.answer("secrets", stdout=secret("team-a", "mail"))
    stand_in.answer("pods", stdout=pod("reader", "mail"))
    kubectl, rows = Kubectl(), Rows()
    token = read_token(kubectl, REF)
    found = None if volumes is None else read_pod_volumes(kubectl)
    both = volumes is not None
    stand_in.answer("--watch", "secrets", stdout=tokens, stderr=ENDED, status=1)
    if both:
        stand_in.answer("--watch", "pods", stdout=volumes)
    with pytest.raises(Forbidden, match="watching is forbidden"):
        StatusWatch(kubectl, rows, "--all-namespaces", "mail").run([token], found)
    return rows.printed


def test_each_change_of_a_token_is_a_row(stand_in: StandIn) -> None:
    tokens = [
        secret("team-a", "mail", event="ADDED"),
        secret("team-a", "mail", NEEDS_REAUTH, "MODIFIED"),
        secret("team-a", "mail", NEEDS_REAUTH, "MODIFIED"),
        secret("team-a", "unrelated", {}, "ADDED"),
        secret("team-a", "mail", READY, "MODIFIED"),
        secret("team-a", "mail", READY, "DELETED"),
    ]
    rows = watch(stand_in, "".join(tokens), None)
    assert rows == [(state, None) for state in ("Ready", "NeedsReauth", "Ready", "Deleted")]


def test_a_token_that_loses_its_annotation_is_deleted(stand_in: StandIn) -> None:
    rows = watch(stand_in, secret("team-a", "mail", {}, "MODIFIED"), None)
    assert [state for state, _ in rows] == ["Ready", "Deleted"]


def test_a_change_of_pods_changes_the_row(stand_in: StandIn) -> None:
    stand_in.answer("secrets", stdout=secret("team-a", "mail"))
    kubectl, rows = Kubectl(), Rows()
    board = StatusWatch(kubectl, rows, "--all-namespaces", "")
    token = read_token(kubectl, REF)
    stand_in.answer("pods", stdout=pod("reader", "mail"))
    (volume,) = read_pod_volumes(kubectl)
    stand_in.answer("--watch", stderr=ENDED, status=1)
    with pytest.raises(Forbidden):
        board.run([token], [volume])
    assert rows.printed == [("Ready", ["reader"])]
    assert board.apply("DELETED", volume) == REF
    assert board.apply("ADDED", volume) == REF


def test_a_watch_that_ends_begins_again(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_watch, "PAUSE", 0.0)
    stand_in.answer("secrets", stdout=secret("team-a", "mail"))
    kubectl = Kubectl()
    token = read_token(kubectl, REF)
    stand_in.answer("--watch", stdout=secret("team-a", "mail", NEEDS_REAUTH, "MODIFIED"))

    class Ending(Rows):
        """Lets the next watch fail."""

        def print_more(self, found: Sequence[Overview]) -> None:
            super().print_more(found)
            if len(self.printed) == 2:
                stand_in.answer("--watch", stderr=ENDED, status=1)

    rows = Ending()
    with pytest.raises(Forbidden):
        StatusWatch(kubectl, rows, "--all-namespaces", "").run([token], None)
    assert [state for state, _ in rows.printed] == ["Ready", "NeedsReauth"]


def test_later_rows_stand_below_the_headers_of_the_first(
    stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.answer("config", stdout="here\nteam-a")
    stand_in.answer("secrets", stdout=secret("team-a", "mail"))
    stand_in.answer("pods", stderr=ENDED, status=1)
    short = {**READY, annotations.STATUS: "Pending"}
    tokens = secret("team-a", "mail", short, "MODIFIED")
    stand_in.answer("--watch", stdout=tokens, stderr=ENDED, status=1)
    assert main(["status", "-w"]) == 1
    headers, first, second = capsys.readouterr().out.splitlines()
    assert headers.startswith("NAME ")
    assert first.index("cern") == second.index("cern") == headers.index("ISSUER")


def test_a_change_costs_no_look_at_the_pods_of_other_tokens(stand_in: StandIn) -> None:
    count = 2000
    names = [f"token-{i}" for i in range(count)]
    stand_in.answer("secrets", stdout="".join(secret("team-a", name) for name in names))
    stand_in.answer("pods", stdout="".join(pod(f"pod-of-{name}", name) for name in names))
    kubectl = Kubectl()
    tokens, volumes = read_tokens(kubectl), read_pod_volumes(kubectl)
    changes = "".join(secret("team-a", name, NEEDS_REAUTH, "MODIFIED") for name in names)
    stand_in.answer("--watch", "pods")
    stand_in.answer("--watch", "secrets", stdout=changes, stderr=ENDED, status=1)
    rows = Rows()
    started = time.process_time()
    with pytest.raises(Forbidden):
        StatusWatch(kubectl, rows, "--all-namespaces", "").run(tokens, volumes)
    # 4 million looks take several seconds, and 2000 a fraction of one.
    assert time.process_time() - started < 2.0
    assert rows.printed[count:] == [("NeedsReauth", [f"pod-of-{name}"]) for name in names]
