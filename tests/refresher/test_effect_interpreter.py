import contextlib
import logging
import math
import shutil
import threading
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from csidriver.adapters.clock import SystemClock
from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import GRANT_SECRET_TYPE
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import DRIVER_NAMESPACE, SourceRef
from csidriver.core.oauth.failure_reason import FailureReason
from csidriver.core.oauth.introspection import Introspection
from csidriver.core.oauth.issuers import Issuer
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.oauth.token_form import Form
from csidriver.core.oauth.token_response import Failure, Success, TokenResponse
from csidriver.core.refresh import effects
from csidriver.core.refresh.source import Client
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreConflict, StoreUnavailable
from csidriver.refresher.circuit_breaker import BreakerState
from csidriver.refresher.effect_interpreter import Interpreter
from csidriver.refresher.metrics import RefresherMetrics
from csidriver.refresher.ports import Ports
from csidriver.refresher.spool import Spool
from tests.refresher.token_states import grant
from tests.waiting import TIMEOUT

REF = SourceRef("ns", "hello")
CLIENT = Client("my-app", Sensitive("s3cret"))
BRIEF = 0.3  # seconds a token request may take


class ScriptedEndpoints:
    """Servers that answer as they are told; `asked` is what was asked of them."""

    def __init__(self) -> None:
        self.outcomes: list[TokenResponse] = []
        self.asked: list[str] = []
        self.answers = threading.Event()
        self.answers.set()
        self.alive = True

    def refresh(
        self,
        issuer: Issuer,
        client: Client,
        refresh_token: Sensitive,
        timeout: float,
        late_timeout: float,
        sent: threading.Event,
    ) -> TokenResponse:
        self.asked.append("refresh")
        assert (issuer, client, refresh_token.reveal()) == (ISSUER, CLIENT, "rt")
        assert (timeout in (10.0, BRIEF), late_timeout) == (True, 60.0)
        outcome = self.outcomes.pop(0)
        sent.set()
        assert self.answers.wait(TIMEOUT)
        return outcome

    def request(self, issuer: Issuer, client: Client, form: Form, timeout: float) -> TokenResponse:
        self.asked.append("request")
        assert (issuer, client, form, timeout) == (ISSUER, CLIENT, REPEATABLE.form, 10.0)
        return self.outcomes.pop(0)

    def introspect(self, *_: Any) -> Introspection:
        raise NotImplementedError

    def probe(self, issuer: Issuer) -> bool:
        self.asked.append("probe")
        assert issuer is ISSUER
        return self.alive


class FakeClock(SystemClock):
    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at


ISSUER = Issuer("demo", token_endpoint="https://as.example/token")
SEND = effects.RequestToken(ISSUER, CLIENT, Sensitive("rt"), 10.0, 60.0, REF, "nonce")
REPEATABLE = effects.RequestRepeatable(
    ISSUER, CLIENT, (("grant_type", Sensitive("client_credentials")),), 10.0, REF
)
FAILED = Failure(FailureReason.UNREACHABLE)
TOKENS = Success(TokenDocument.parse(Sensitive('{"access_token":"a"}'))[0])


class ScriptedBench:
    def __init__(self, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.endpoints = ScriptedEndpoints()
        self.clock = FakeClock()
        self.root, self.spool = folder / "store", folder / "spool"
        self.store = DirectoryStore(self.root)
        self.may_send = True
        self.interpreter = Interpreter(
            Ports(
                store=self.store,
                spool=Spool(self.spool),
                token_client=self.endpoints,
                clock=self.clock,
                metrics=RefresherMetrics(self.registry),
                may_send=lambda: self.may_send,
            )
        )
        self.run = self.interpreter.run

    def ask(self, number: int = 0) -> float:
        return float(
            self.run(perform(effects.AcquireSendSlot(ISSUER, SourceRef("ns", str(number)), CLIENT)))
        )

    def exchange(
        self,
        number: int,
        outcome: TokenResponse,
        send: effects.RequestToken | effects.RequestRepeatable | None = None,
    ) -> TokenResponse | float:
        """What comes of an exchange; the seconds to wait if it may not be."""
        self.endpoints.outcomes = [outcome]

        def steps() -> Generator[effects.Effect[Any], Any, TokenResponse | float]:
            pause = yield from effects.AcquireSendSlot(ISSUER, SourceRef("ns", str(number)), CLIENT)
            return pause or (yield from send or SEND)

        self.clock.at += 1.0
        return self.run(steps())

    def in_flight(self) -> int:
        return self.interpreter.limiter.loads()[0].in_flight

    def value(self, metric: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"oauth2_csi_refresher_{metric}", labels)


@pytest.fixture
def scripted(tmp_path: Path) -> ScriptedBench:
    return ScriptedBench(tmp_path)


def perform(effect: effects.Effect[Any]) -> Generator[effects.Effect[Any], Any, Any]:
    return (yield from effect)


def test_what_a_token_has_written_is_remembered_as_its_own(scripted: ScriptedBench) -> None:
    runner = scripted.interpreter.runner(ref=REF)
    created = runner.run(perform(effects.CreateSecret(Secret("ns", "hello"))))
    patch = SecretPatch(data={"oauth": Sensitive("1")})
    patched = runner.run(perform(effects.PatchSecret(created, patch)))
    for secret in (created, patched):
        assert scripted.interpreter.own_writes.find(secret.uid, secret.resource_version) == REF


def test_every_nonce_is_another_one_and_who_may_not_send_waits(scripted: ScriptedBench) -> None:
    assert len({scripted.run(perform(effects.Nonce())) for _ in range(10)}) == 10
    scripted.may_send = False
    assert scripted.ask() == math.inf


def test_a_report_is_a_log_line_and_an_event_if_that_can_be_written(
    scripted: ScriptedBench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for reason, normal in (("Ready", True), ("NeedsReauth", False)):
        scripted.run(perform(effects.EmitEvent(REF, "uid", reason, "text", normal)))
        event = (scripted.root / f"ns/event.hello.{reason.lower()}.yaml").read_text("utf-8")
        assert ("Normal" if normal else "Warning") in event
        line = caplog.records[-1]
        assert line.getMessage() == f"Secret ns/hello: {reason}: text"
        assert line.levelno == (logging.INFO if normal else logging.WARNING)
        assert scripted.value("changes_total", reason=reason) == 1
    shutil.rmtree(scripted.root)
    scripted.root.write_text("no folder", encoding="ascii")
    scripted.run(perform(effects.EmitEvent(REF, "uid-1", "Ready", "fine", True)))
    assert "cannot create an Event for Secret ns/hello" in caplog.text


def test_a_refused_client_is_not_asked_for_and_a_refused_grant_stops_no_login(
    scripted: ScriptedBench,
) -> None:
    refused = Failure(FailureReason.INVALID_CLIENT)
    assert scripted.exchange(0, refused, REPEATABLE) == refused
    assert scripted.exchange(1, TOKENS) == TOKENS
    assert scripted.exchange(2, TOKENS, REPEATABLE) == TOKENS
    assert scripted.endpoints.asked == ["request", "refresh", "request"]
    assert scripted.in_flight() == 0
    assert scripted.value("exchanges_total", issuer="demo", outcome="ok") == 2
    assert scripted.value("exchange_seconds_count", issuer="demo") == 3
    assert scripted.exchange(3, refused) == refused
    assert scripted.exchange(4, TOKENS, REPEATABLE) == refused, "its client is known to be refused"
    assert scripted.endpoints.asked[3:] == ["refresh"]


def test_a_login_is_found_for_the_token_that_is_derived_from_it(scripted: ScriptedBench) -> None:
    login = replace(grant(), ref=SourceRef("ns", "login"))
    scripted.interpreter.find_login = lambda *asked: login if asked == (REF, login.ref) else None
    assert scripted.run(perform(effects.FindLogin(REF, login.ref))) is login


def test_a_slot_is_given_back_however_a_run_ends(scripted: ScriptedBench) -> None:
    def steps(end: str) -> Generator[effects.Effect[Any], Any, None]:
        assert not (yield from effects.AcquireSendSlot(ISSUER, REF, CLIENT))
        assert scripted.in_flight() == 1
        if end == "send":
            yield from SEND
        elif end == "give back":
            yield from effects.ReleaseSendSlot(ISSUER, REF)
            assert scripted.in_flight() == 0
        elif end == "fail":
            raise StoreConflict("somebody was faster")

    for end in ("send", "give back", "nothing"):
        scripted.endpoints.outcomes = [Failure(FailureReason.INVALID_GRANT)]
        scripted.run(steps(end))
        assert scripted.in_flight() == 0
        scripted.clock.at += 1.0
    with pytest.raises(StoreConflict):
        scripted.run(steps("fail"))
    assert scripted.in_flight() == 0


def test_a_dead_server_is_probed_with_nothing_of_anybodys(scripted: ScriptedBench) -> None:
    for number in range(3):
        assert scripted.exchange(number, FAILED) == FAILED
    scripted.clock.at += 60.0
    scripted.endpoints.asked.clear()
    scripted.endpoints.alive = False
    assert scripted.ask(7) > 0
    assert scripted.endpoints.asked == ["probe"]
    scripted.clock.at += 60.0
    scripted.endpoints.alive = True
    assert scripted.interpreter.limiter.next_turn(ISSUER.name) == (SourceRef("ns", "7"), 0.0)
    assert scripted.ask(7) == 0
    assert scripted.endpoints.asked == ["probe", "probe"]


def events_in(scripted: ScriptedBench, namespace: str) -> list[tuple[str, str, int]]:
    events = [yaml.safe_load(p.read_text()) for p in (scripted.root / namespace).glob("event.*")]
    return [(e["reason"], e["message"], e["count"]) for e in events]


def test_the_health_of_an_issuer_is_one_event_on_the_deployment(scripted: ScriptedBench) -> None:
    report = effects.EmitEvent(
        REF, "uid", "IssuerUnavailable", "gone", normal=False, of_issuer=True
    )

    def failing() -> Generator[effects.Effect[Any], Any, None]:
        yield from effects.AcquireSendSlot(ISSUER, REF, CLIENT)
        yield from SEND
        assert events_in(scripted, DRIVER_NAMESPACE) == [], "what an exchange brought comes first"
        yield from report

    for number in range(2):
        scripted.exchange(number, FAILED)
    scripted.run(perform(report))
    assert len(events_in(scripted, "ns")) == 1, "one failure may concern this token only"
    scripted.endpoints.outcomes = [FAILED]
    scripted.run(failing())
    trouble = ("IssuerUnavailable", "issuer demo does not answer; no token is sent until it does")
    assert events_in(scripted, DRIVER_NAMESPACE) == [(*trouble, 1)]
    assert events_in(scripted, "ns") == [("IssuerUnavailable", "gone", 1)]
    scripted.clock.at += 60.0
    scripted.endpoints.alive = True
    scripted.exchange(5, Failure(FailureReason.INVALID_GRANT))
    well = ("IssuerAvailable", "issuer demo answers again")
    assert sorted(events_in(scripted, DRIVER_NAMESPACE)) == [(*well, 1), (*trouble, 1)]


def test_a_late_reply_is_kept_and_tells_that_the_issuer_answers(scripted: ScriptedBench) -> None:
    scripted.endpoints.answers.clear()
    requeued: list[SourceRef] = []
    scripted.interpreter.requeue = requeued.append
    for number in range(3):
        outcome = scripted.exchange(number, TOKENS, replace(SEND, timeout=BRIEF))
        assert isinstance(outcome, Failure)
        assert outcome.reason is FailureReason.NO_ANSWER
    assert scripted.interpreter.limiter.loads()[0].state is BreakerState.OPEN
    scripted.endpoints.answers.set()
    assert scripted.interpreter.ports.late_replies.join(TIMEOUT)
    assert scripted.interpreter.limiter.loads()[0].state is BreakerState.CLOSED
    told = {reason for reason, _, _ in events_in(scripted, DRIVER_NAMESPACE)}
    assert told == {"IssuerUnavailable", "IssuerAvailable"}
    entry = scripted.run(perform(effects.TakeLateReply(REF)))
    assert requeued == [REF] * 3
    assert (entry.nonce, entry.refresh_token_hash) == ("nonce", Sensitive("rt").hash())


def test_a_token_waits_only_for_the_issuer_whose_workers_it_uses(scripted: ScriptedBench) -> None:
    asking = perform(effects.AcquireSendSlot(ISSUER, REF, CLIENT))
    pause = scripted.interpreter.runner("").run(asking)
    assert 0 < pause < 0.01
    asking = perform(effects.AcquireSendSlot(ISSUER, REF, CLIENT))
    assert scripted.interpreter.runner("demo").run(asking) == 0


def test_tokens_that_may_have_been_stored_are_not_lost(scripted: ScriptedBench) -> None:
    held = scripted.store.create_secret(Secret("ns", "grant", type=GRANT_SECRET_TYPE))
    patch = effects.PatchSecret(held, SecretPatch(data={"a": Sensitive("1")}))

    def steps() -> Generator[effects.Effect[Any], Any, None]:
        yield from SEND
        away = scripted.root.rename(scripted.root.with_name("away"))
        scripted.root.write_text("no folder", encoding="ascii")
        with contextlib.suppress(StoreUnavailable):
            yield from patch
        assert scripted.value("commit_seconds_sum") == 0
        scripted.clock.at += 3.0
        scripted.root.unlink()
        away.rename(scripted.root)
        yield from patch

    scripted.endpoints.outcomes = [TOKENS]
    scripted.run(steps())
    assert scripted.value("races_total", outcome="lost") == 0
    assert scripted.value("commit_seconds_sum") == pytest.approx(3.0)


def test_tokens_that_nobody_stored_lost_a_race(scripted: ScriptedBench) -> None:
    for outcome in (TOKENS, FAILED):
        scripted.endpoints.outcomes = [outcome]
        scripted.run(perform(SEND))
        assert scripted.value("races_total", outcome="lost") == 1
