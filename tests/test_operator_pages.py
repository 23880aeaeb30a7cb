"""The pages for operators leave nothing out that an operator may meet."""

import argparse
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from csidriver import cli
from csidriver.broker.metrics import BrokerMetrics
from csidriver.core.broker.denial import Denial
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.status import Status, TokenWarning
from csidriver.node import error_interceptor
from csidriver.node.metrics import NodeMetrics
from csidriver.refresher.metrics import RefresherMetrics
from csidriver.webhook.metrics import WebhookMetrics
from tools.programs import KEYCLOAK_ARTIFACT

DOCS = Path(__file__).parents[1] / "docs"
ALERTS = DOCS.parent / "deploy/chart/files/alerts.yaml"


def section(page: str, title: str) -> str:
    """A part of a page, up to the next one of its level."""
    level = title.partition(" ")[0]
    _, _, rest = (DOCS / page).read_text(encoding="utf-8").partition(f"\n{title}\n")
    assert rest, f"there is no section {title!r} in {page}"
    return re.split(rf"^#{{1,{len(level)}}} ", rest, flags=re.MULTILINE)[0]


def first_cells(text: str) -> set[str]:
    """Return the code in the first column of its tables."""
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {code for row in rows for code in re.findall(r"`([^`]+)`", row)}


def test_every_status_every_outcome_and_every_denial_has_its_cure() -> None:
    def cells(title: str) -> set[str]:
        return first_cells(section("troubleshooting.md", title))

    assert {each.value for each in (*Status, *TokenWarning)} <= cells("## Statuses")
    assert cells("### Messages") - {"outcome"} == {each.value for each in FailureReason}
    assert cells("### What a broker denies") == {each.value for each in Denial}


def test_every_code_a_pod_may_see_has_its_row() -> None:
    codes = {code.name.title().replace("_", "") for code in error_interceptor._CODES.values()}
    rows = first_cells(section("troubleshooting.md", "## Events of a pod"))
    assert rows - {"code"} == codes | {"Internal"}


def test_the_alert_leaves_out_denials_that_every_cluster_has() -> None:
    (usual,) = re.findall(r'reason!~"([^"]+)"', ALERTS.read_text(encoding="utf-8"))
    assert set(usual.split("|")) < {each.value for each in Denial}


def test_the_keycloak_of_the_tests_is_named() -> None:
    version = KEYCLOAK_ARTIFACT.split(":")[2]
    assert f"a real Keycloak {version}," in section("issuers/keycloak.md", "## What was tried")


@pytest.mark.parametrize("metrics", [NodeMetrics, RefresherMetrics, WebhookMetrics, BrokerMetrics])
def test_every_metric_is_in_the_table(metrics: type) -> None:
    registry = CollectorRegistry()
    metrics(registry)
    named = {f"{m.name}{_SUFFIX.get(m.type, '')}" for m in registry.collect()}
    assert named
    assert named <= first_cells(section("reference.md", "## Metrics"))


_SUFFIX = {"counter": "_total", "histogram": "_bucket"}


@pytest.mark.parametrize("command", ["node", "refresher", "webhook", "broker", "node cleanup"])
def test_every_flag_is_explained(command: str) -> None:
    actions = cli._parser()._actions
    (commands,) = [a for a in actions if isinstance(a, argparse._SubParsersAction)]
    flags = {f for f in commands.choices[command]._option_string_actions if f.startswith("--")}
    titles = ("## Flags", "## Removing the driver from a node")
    described = "".join(section("reference.md", title) for title in titles)
    assert flags - set(re.findall(r"--[a-z-]+", described)) == {"--help"}
