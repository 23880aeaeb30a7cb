import logging
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from csidriver.adapters.clock import Clock
from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.http import TokenEndpoints
from csidriver.core import effects
from csidriver.core.contract import Ref
from csidriver.core.issuers import Issuer
from csidriver.core.outcome import Failed, Ok, Outcome
from csidriver.core.secret import Secret, SecretPatch
from csidriver.core.sensitive import Sensitive
from csidriver.core.source import Client
from csidriver.core.status import Signal
from csidriver.demo.faults import Status
from csidriver.demo.issuer import DEMO_CLIENT, StrictIssuer
from csidriver.errors import SpoolFailed, StoreConflict
from csidriver.refresher.interpreter import Interpreter, World
from csidriver.refresher.metrics import RefresherMetrics
from csidriver.refresher.spool import Spool

REF = Ref("ns", "hello")
ENTRY = effects.SpoolEntry("nonce", 1.0, None)


class Surroundings:
    """An interpreter over a folder; `may_send` is passed on."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "store"
        self.spool = folder / "spool"
        self.registry = CollectorRegistry()
        self.may_send = True
        self.run = Interpreter(
            World(
                store=DirectoryStore(self.root),
                spool=Spool(self.spool),
                endpoints=TokenEndpoints(),
                clock=Clock(),
                metrics=RefresherMetrics(self.registry),
                may_send=lambda: self.may_send,
            )
        ).run


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


def one(effect: effects.Effect[Any]) -> Generator[effects.Effect[Any], Any, Any]:
    return (yield from effect)


def test_secrets_are_created_read_patched_and_deleted(around: Surroundings) -> None:
    secret = Secret("ns", "hello", data={"a": Sensitive("1")})
    created = around.run(one(effects.CreateSecret(secret)))
    patched = around.run(one(effects.PatchSecret(created, SecretPatch(data={"b": Sensitive("2")}))))
    assert around.run(one(effects.GetSecret("ns", "hello"))) == patched
    assert patched.data == {"a": Sensitive("1"), "b": Sensitive("2")}
    around.run(one(effects.DeleteSecret(patched)))
    assert around.run(one(effects.GetSecret("ns", "hello"))) is None


def test_clocks_nonces_and_permission(around: Surroundings) -> None:
    before = around.run(one(effects.Monotonic()))
    now = around.run(one(effects.Now()))
    around.run(one(effects.Wait(0.05)))
    assert around.run(one(effects.Monotonic())) >= before + 0.05
    assert now > 1_600_000_000
    nonces = {around.run(one(effects.Nonce())) for _ in range(10)}
    assert len(nonces) == 10
    assert all(re.fullmatch("[0-9a-f]{32}", nonce) for nonce in nonces)
    for allowed in (True, False):
        around.may_send = allowed
        assert around.run(one(effects.MaySend("demo"))) is allowed


def test_the_spool_is_written_read_and_cleared(around: Surroundings) -> None:
    around.run(one(effects.SpoolWrite(REF, ENTRY)))
    assert around.run(one(effects.SpoolRead(REF))) == ENTRY
    around.run(one(effects.SpoolClear(REF)))
    assert around.run(one(effects.SpoolRead(REF))) is None


def test_our_errors_are_thrown_in_where_the_effect_was_asked_for(around: Surroundings) -> None:
    def steps() -> Generator[effects.Effect[Any], Any, list[str]]:
        caught = []
        yield from effects.CreateSecret(Secret("ns", "hello"))
        try:
            yield from effects.CreateSecret(Secret("ns", "hello"))
        except StoreConflict:
            caught.append("conflict")
        around.spool.write_text("no folder", encoding="ascii")
        try:
            yield from effects.SpoolWrite(REF, ENTRY)
        except SpoolFailed:
            caught.append("spool")
        now = yield from effects.Now()
        return [*caught, type(now).__name__]

    assert around.run(steps()) == ["conflict", "spool", "float"]


def test_an_error_that_is_not_caught_ends_the_run(around: Surroundings) -> None:
    gone = Secret("ns", "gone")
    with pytest.raises(StoreConflict):
        around.run(one(effects.PatchSecret(gone, SecretPatch(data={"a": Sensitive("1")}))))


def test_send_presents_once_and_counts(around: Surroundings) -> None:
    secret = DEMO_CLIENT.client_secret
    assert secret is not None
    client = Client(DEMO_CLIENT.client_id, secret)
    with StrictIssuer(clients=[DEMO_CLIENT]) as strict:
        issuer = Issuer("demo", issuer=strict.url, internal=True)
        outcomes: list[Outcome] = []
        for fault in (None, Status(500)):
            strict.faults(*([fault] if fault else []))
            send = effects.Send(issuer, client, strict.seed("my-app"), 10.0)
            outcomes.append(around.run(one(send)))
        assert len(strict.presentations()) == 2
    assert isinstance(outcomes[0], Ok)
    assert outcomes[1] == Failed(Signal.SERVER_ERROR)
    for outcome in ("ok", "server_error"):
        labels = {"issuer": "demo", "outcome": outcome}
        name = "oauth2_csi_refresher_exchanges_total"
        assert around.registry.get_sample_value(name, labels) == 1
    count = "oauth2_csi_refresher_exchange_seconds_count"
    assert around.registry.get_sample_value(count, {"issuer": "demo"}) == 2


@pytest.mark.parametrize("normal", [True, False])
def test_a_report_is_an_event_and_a_log_line(
    around: Surroundings, caplog: pytest.LogCaptureFixture, *, normal: bool
) -> None:
    caplog.set_level(logging.INFO)
    around.run(one(effects.Report(REF, "uid-1", "NeedsReauth", "log in again", normal)))
    event = (around.root / "ns" / "event.hello.needsreauth.yaml").read_text(encoding="utf-8")
    for part in ("uid-1", "NeedsReauth", "log in again", "Normal" if normal else "Warning"):
        assert part in event
    line = caplog.records[-1]
    assert line.getMessage() == "Secret ns/hello: NeedsReauth: log in again"
    assert line.levelno == (logging.INFO if normal else logging.WARNING)


def test_an_event_that_cannot_be_written_stops_nothing(
    around: Surroundings, caplog: pytest.LogCaptureFixture
) -> None:
    around.root.write_text("no folder", encoding="ascii")
    around.run(one(effects.Report(REF, "uid-1", "Ready", "fine", True)))
    assert "no Event for Secret ns/hello" in caplog.text
