from collections.abc import Callable, Sequence

import pytest

from csidriver.core.names import SourceRef
from csidriver.kubectl import status_watch
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.errors import Forbidden
from csidriver.kubectl.main import main
from csidriver.kubectl.status_watch import StatusWatch
from csidriver.kubectl.tokens.overview import Overview
from csidriver.kubectl.tokens.pod_volumes import read_pod_volumes
from csidriver.kubectl.tokens.token import read_token
from tests.kubectl.printed import NEEDS_REAUTH, READY, Capture, pod, secret
from tests.kubectl.stand_in import StandIn

ENDED = "Error from server (Forbidden): watching is forbidden\n"


class Rows:
    """Collects what a watch prints; `after` is called with each row."""

    def __init__(self, after: Callable[[int], None] = lambda _: None) -> None:
        self.printed: list[tuple[str, list[str] | None]] = []
        self._after = after

    def print_more(self, found: Sequence[Overview]) -> None:
        for overview in found:
            pods = None if overview.pods is None else list(overview.pods)
            self.printed.append((overview.token.state, pods))
            self._after(len(self.printed))


def watch(stand_in: StandIn, rows: Rows, *, with_pods: bool = False) -> list[str]:
    """Watch until one of the watches has failed; return the statuses of the rows."""
    stand_in.answer("secrets", "mail", stdout=secret("team-a", "mail"))
    stand_in.answer("pods", "--before", stdout=pod("reader", "mail"))
    kubectl = Kubectl()
    token = read_token(kubectl, SourceRef("team-a", "mail"))
    volumes = read_pod_volumes(kubectl, "--before") if with_pods else None
    with pytest.raises(Forbidden, match="watching is forbidden"):
        StatusWatch(kubectl, rows, "--all-namespaces", "").run([token], volumes)
    return [state for state, _ in rows.printed]


@pytest.mark.parametrize("last", [(READY, "DELETED"), ({}, "MODIFIED")])
def test_each_change_of_a_token_is_a_row(
    stand_in: StandIn, last: tuple[dict[str, str], str]
) -> None:
    changes = [(READY, "ADDED"), *[(NEEDS_REAUTH, "MODIFIED")] * 2, (READY, "MODIFIED"), last]
    tokens = secret("team-a", "unrelated", {}, "ADDED")
    tokens += "".join(secret("team-a", "mail", *change) for change in changes)
    stand_in.answer("--watch", stdout=tokens, stderr=ENDED, status=1)
    assert watch(stand_in, Rows()) == ["Ready", "NeedsReauth", "Ready", "Deleted"]


def test_a_change_of_pods_changes_the_row(stand_in: StandIn) -> None:
    events = pod("reader", "mail", event="DELETED") + pod("another", "mail", event="ADDED")
    stand_in.answer("--watch", "pods", stdout=events, stderr=ENDED, status=1)
    stand_in.answer("--watch", "secrets", stdout=secret("team-a", "mail", event="ADDED"))
    rows = Rows()
    watch(stand_in, rows, with_pods=True)
    assert rows.printed == [("Ready", ["reader"]), ("Ready", []), ("Ready", ["another"])]


def test_a_watch_that_ends_begins_again(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_watch, "PAUSE", 0.0)
    stand_in.answer("--watch", stdout=secret("team-a", "mail", NEEDS_REAUTH, "MODIFIED"))

    def fail_next(count: int) -> None:
        if count == 2:
            stand_in.answer("--watch", stderr=ENDED, status=1)

    assert watch(stand_in, Rows(fail_next)) == ["Ready", "NeedsReauth"]


def test_later_rows_stand_below_the_headers_of_the_first(
    stand_in: StandIn, capsys: Capture
) -> None:
    stand_in.answer("secrets", stdout=secret("team-a", "mail"))
    stand_in.answer("pods", stderr=ENDED, status=1)
    tokens = secret("team-a", "mail", NEEDS_REAUTH, "MODIFIED")
    stand_in.answer("--watch", stdout=tokens, stderr=ENDED, status=1)
    assert main(["status", "-w"]) == 1
    headers, first, second = capsys.readouterr().out.splitlines()
    assert headers.startswith("NAME ")
    assert first.index("cern") == second.index("cern") == headers.index("ISSUER")
