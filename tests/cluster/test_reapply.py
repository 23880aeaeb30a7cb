"""A token survives what users and tools do to its Secret on a real API server."""

import base64
from pathlib import Path
from typing import Any

import pytest

from csidriver.core.status import TokenWarning
from csidriver.demo.presentation_log import Outcome
from tests.cluster.cluster import Cluster
from tests.cluster.controlplane import PROGRAMS
from tests.cluster.user_namespace import UserNamespace
from tests.processes import page_of, running
from tests.refresher.bench import Bench
from tests.waiting import until

pytestmark = pytest.mark.tools(*PROGRAMS)
NS, NAME = "frank", "hello"


def encoded(original: dict[str, Any]) -> dict[str, Any]:
    plain = original["stringData"].items()
    data = {key: base64.b64encode(text.encode()).decode() for key, text in plain}
    return {key: original[key] for key in original if key != "stringData"} | {"data": data}


def assert_it_goes_on(user: UserNamespace) -> None:
    until(lambda: TokenWarning.OLD_SEED_RESTORED.value in user.warning(NAME), "the user is told")
    user.refresh_repeatedly(NAME)
    until(lambda: user.is_mirrored(NAME), "the live document is back")
    assert not user.warning(NAME)
    user.refresh_repeatedly(NAME)


def test_a_restored_seed_is_not_presented_again_and_the_token_goes_on_rotating(
    cluster: Cluster, tmp_path: Path
) -> None:
    cluster.reset_namespaces(NS)
    user = UserNamespace(cluster, NS)
    with Bench(tmp_path) as bench:
        flags = cluster.refresher_flags(bench.issuers, tmp_path / "spool")
        with running("refresher", *flags) as (_, log):
            until(lambda: page_of(log, "readyz")[0] == 200)
            original = user.apply(NAME, bench.issuer.seed("my-app"))
            until(lambda: user.generation(NAME) >= 2, "it is adopted and refreshed")
            user.refresh_repeatedly(NAME)
            user.kubectl("apply", "--server-side", "--force-conflicts", stdin=encoded(original))
            assert_it_goes_on(user)
            user.kubectl("delete", "secret", NAME)
            user.kubectl("create", stdin=original)
            assert_it_goes_on(user)
            assert "Traceback" not in log.read_text("utf-8")
        assert {row.outcome for row in bench.issuer.presentations()} == {Outcome.ROTATED}
        assert bench.issuer.max_presentations() == 1
