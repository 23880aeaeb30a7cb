"""Nothing says Ready after the access token has expired (invariant 14), where faults are rare."""

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from tests.core.refresh.virtual_cluster import (
    GRANT,
    LIFE,
    SOURCE,
    Crashed,
    Process,
    crash,
    is_commit,
    once,
)


def test_nodes_of_a_deleted_source_get_the_tokens_that_a_crash_left_behind(
    running: Process,
) -> None:
    cluster = running.cluster

    def delete_and_crash() -> None:
        del cluster.secrets[SOURCE]
        crash()

    cluster.after = once(is_commit, delete_and_crash)
    with pytest.raises(Crashed):
        running.run_for(LIFE)
    running.restarted().reconcile()
    assert cluster.companion().generation == cluster.grant().generation


def test_a_restart_reads_the_source_after_two_processes_wrote_at_once(running: Process) -> None:
    """The one that lost the race may have shown its own status there."""
    cluster = running.cluster

    def write_and_die() -> None:
        cluster._store(cluster.secrets[GRANT])

    cluster.before = once(is_commit, write_and_die)
    running.die_after(is_commit)
    assert not cluster.grant().source_version
    running.restarted().reconcile()
    assert cluster.note(annotations.EXPIRES_AT) == format_rfc3339(cluster.grant().expires_at)
