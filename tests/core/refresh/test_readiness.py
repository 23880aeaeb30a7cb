"""Nothing says Ready after the access token has expired (invariant 14), where faults are rare."""

import pytest

from csidriver.core import annotations
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.refresh import effects
from tests.core.refresh.cluster_checks import (
    GRANT,
    LIFE,
    SOURCE,
    companion,
    crash,
    delete,
    grant,
    is_commit,
    live,
    mirrored,
    note,
    once,
    restart,
)
from tests.core.refresh.virtual_cluster import REF, Crashed, Process


def test_nodes_of_a_deleted_source_get_the_tokens_that_a_crash_left_behind(
    running: Process,
) -> None:
    cluster = running.cluster

    def delete_and_crash() -> None:
        delete(cluster, SOURCE)
        crash()

    cluster.after = once(is_commit, delete_and_crash)
    with pytest.raises(Crashed):
        running.run_for(LIFE)
    restart(running).reconcile()
    assert companion(cluster).generation == grant(cluster).generation


def test_a_crash_before_the_mirror_is_noticed_after_a_restart(running: Process) -> None:
    """The restart knows of the earlier mirror by its version alone."""
    cluster, fresh = running.cluster, restart(running)
    fresh.reconcile()
    cluster.before = once(
        lambda e: isinstance(e, effects.PatchSecret) and e.base.name == REF.name, crash
    )
    with pytest.raises(Crashed):
        fresh.run_for(LIFE)
    assert mirrored(cluster) == "alice-1"
    restart(fresh).reconcile()
    assert mirrored(cluster) == live(cluster) == "alice-2"


def test_a_restart_reads_the_source_after_two_processes_wrote_at_once(running: Process) -> None:
    """The one that lost the race may have shown its own status there."""
    cluster = running.cluster

    def write_and_die() -> None:
        cluster._store(cluster.secrets[GRANT])

    cluster.before = once(is_commit, write_and_die)
    cluster.after = once(is_commit, crash)
    with pytest.raises(Crashed):
        running.run_for(LIFE)
    assert not grant(cluster).source_version
    restart(running).reconcile()
    assert note(cluster, annotations.EXPIRES_AT) == format_rfc3339(grant(cluster).expires_at)
