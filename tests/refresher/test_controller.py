import contextlib
import socket
import threading

import pytest

from csidriver.core import annotations
from csidriver.core import names as core_names
from csidriver.core.kubernetes.change import SecretChange
from csidriver.core.kubernetes.timestamp import format_rfc3339
from csidriver.core.names import SourceRef
from csidriver.core.oauth.token_document import TokenDocument
from csidriver.core.refresh.schedule import RequestTimeouts
from csidriver.errors import StoreUnavailable
from tests.issuer.faults import Hold
from tests.refresher.bench import NAMESPACE, Bench, Build, commits, manifest
from tests.waiting import TIMEOUT, until

# Seconds: less than the 15 that a request without an answer lasts.
UNANSWERED = 12.0
# Seconds: the time of a token request, and less than a slow server is given.
BRIEF, SOON = 0.3, 8.0


def test_an_annotated_secret_becomes_ready_and_gets_a_companion(build: Build) -> None:
    bench = build()
    seed = bench.issuer.seed("my-app")
    bench.apply("hello", seed)
    until(lambda: bench.refreshed("hello"))
    companion = bench.companion("hello")
    assert companion is not None
    token = companion.data["access_token"]
    assert bench.issuer.verify(token.reveal()) is not None
    document, _ = TokenDocument.parse(bench.source("hello").data[annotations.KEY_OAUTH])
    assert document.access_token == token
    assert document.refresh_token not in (None, seed)
    assert bench.grant("hello").document == document
    assert bench.outcomes() == ["rotated"]
    assert until(lambda: not list(bench.spool.glob("*")), "the spool is cleared")
    event = bench.root / NAMESPACE / "event.hello.ready.yaml"
    assert until(event.exists)


def test_a_corrected_issuers_file_lets_a_misconfigured_secret_recover(build: Build) -> None:
    bench = build()
    bench.apply("hello", bench.issuer.seed("my-app"), issuer="second")
    until(lambda: bench.status("hello") == "Misconfigured")
    bench.issuers.write_text("issuers: [", encoding="utf-8")
    bench.apply("other", bench.issuer.seed("my-app"))
    until(lambda: bench.refreshed("other"), "a broken file leaves the last good one in force")
    assert bench.status("hello") == "Misconfigured"
    bench.configure(bench.entry(), bench.entry(name="second", default=False))
    until(lambda: bench.refreshed("hello"))
    assert bench.outcomes() == ["rotated", "rotated"]


def test_a_poisoned_secret_delays_nobody(build: Build) -> None:
    bench = build()
    for number in range(12):
        broken = manifest(f"broken-{number}", "", document="{no json")
        bench.store.apply(broken, NAMESPACE)
    bench.apply("damaged", bench.issuer.seed("my-app"))
    until(lambda: bench.refreshed("damaged"))
    bench.stop()
    bench.damage_grant("damaged")
    bench.start()
    bench.apply("hello", bench.issuer.seed("my-app"))
    until(lambda: bench.refreshed("hello"))
    until(lambda: all(bench.status(f"broken-{n}") == "Invalid" for n in range(12)))
    until(lambda: bench.status("damaged") == "Invalid")
    assert bench.outcomes() == ["rotated", "rotated"], "nothing is presented for a damaged grant"


def test_a_watch_that_breaks_is_followed_by_one_that_tells_what_was_missed(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    bench = build()
    bench.apply("hello", bench.issuer.seed("my-app"))
    settled(bench, "hello")

    def breaks(_change: SecretChange) -> bool:
        bench.backend.deaf = lambda _change: False
        raise StoreUnavailable("the test says so")

    bench.backend.deaf = breaks
    bench.store.remove("Secret", NAMESPACE, "hello")
    until(
        lambda: (c := bench.companion("hello")) and c.annotations[annotations.STATUS] == "Invalid"
    )
    assert "cannot watch Secrets: the test says so" in caplog.text


def test_an_exchange_in_flight_is_stored_before_the_refresher_ends(build: Build) -> None:
    bench = build()
    seed = bench.issuer.seed("my-app")
    released = threading.Event()
    bench.issuer.add_faults(Hold(released))
    bench.apply("hello", seed)
    spooled = bench.spool / f"{SourceRef(NAMESPACE, 'hello').id}.json"
    until(spooled.exists, "the token is about to be sent")
    bench.ask_to_stop()
    threading.Timer(0.5, released.set).start()
    bench.stop()
    assert bench.outcomes() == ["rotated"]
    successor = bench.issuer.presentations()[0].successor_hash
    assert bench.grant("hello").live_hash == successor
    assert not spooled.exists()


def test_a_late_reply_is_stored_and_its_token_not_sent_again(build: Build) -> None:
    bench = build(timeouts=RequestTimeouts(BRIEF))
    released = threading.Event()
    bench.issuer.add_faults(*[Hold(released)] * 2)
    for name in ("hello", "other"):
        bench.apply(name, bench.issuer.seed("my-app"))
    until(lambda: bench.status("hello") == bench.status("other") == "Uncertain")
    released.set()
    until(lambda: bench.refreshed("hello") and bench.refreshed("other"), timeout=SOON)
    assert bench.outcomes() == ["rotated"] * 2
    successors = {row.successor_hash for row in bench.issuer.presentations()}
    assert {bench.grant(name).live_hash for name in ("hello", "other")} == successors
    until(lambda: not list(bench.spool.glob("*.json")))


def settled(bench: Bench, *names: str) -> None:
    """All are Ready, and a later one as well: whatever a watch had to tell of them was told."""
    until(lambda: all(bench.refreshed(name) for name in names))
    until(lambda: not list(bench.spool.glob("*.json")))
    later = f"later-{len(bench.issuer.presentations())}"
    bench.apply(later, bench.issuer.seed("my-app"))
    until(lambda: bench.refreshed(later))


def test_dead_issuers_delay_nobody_else(build: Build) -> None:
    bench = build()
    with contextlib.ExitStack() as sockets:
        dead = []
        for number in range(3):
            listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=200))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/token"
            dead.append({"name": f"dead-{number}", "tokenEndpoint": url, "internal": True})
        bench.configure(bench.entry(), *dead)
        for number in range(60):
            bench.apply(f"stuck-{number}", bench.issuer.seed("my-app"), issuer=f"dead-{number % 3}")
        until(lambda: len(list(bench.spool.glob("*.json"))) >= 16, "many exchanges hang")
        bench.apply("hello", bench.issuer.seed("my-app"))
        until(lambda: bench.refreshed("hello"), timeout=UNANSWERED)
        bench.ask_to_stop()
    bench.stop()


def test_a_namespace_with_many_due_tokens_delays_no_other_namespace(build: Build) -> None:
    queue = build().new_controller(lambda: True)._queue
    for name in ["evil"] * 100 + ["victim"]:
        queue.add_at(SourceRef(name, f"token-{name}-{queue._pushes}"), queue._pushes)
    first = [queue.get(), queue.get()]
    assert [ref and ref.namespace for ref in first] == ["evil", "victim"]


def test_a_backend_that_takes_no_outcomes_holds_up_no_other_token(build: Build) -> None:
    bench = build()
    stuck = [SourceRef(NAMESPACE, f"stuck-{number}") for number in range(40)]
    grants = {ref.grant for ref in stuck}
    bench.backend.broken = lambda base, patch: base.name in grants and commits(base, patch)
    for ref in stuck:
        bench.apply(ref.name, bench.issuer.seed("my-app"))
    until(lambda: len(bench.outcomes()) == 40, "all of them were sent")
    bench.apply("hello", bench.issuer.seed("my-app"))
    until(lambda: bench.refreshed("hello"))
    assert not any(bench.refreshed(ref.name) for ref in stuck)
    retries = "oauth2_csi_refresher_commit_retries_total"
    until(lambda: (bench.registry.get_sample_value(retries) or 0) > 2 * len(stuck), "each try")
    bench.backend.broken = lambda _base, _patch: False
    until(lambda: all(bench.refreshed(ref.name) for ref in stuck))
    assert bench.outcomes() == ["rotated"] * 41
    assert bench.issuer.max_presentations() == 1
    bench.stop()


def test_what_no_event_told_of_is_found_by_the_next_look(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    bench = build()
    for name in ("hello", "gone"):
        bench.apply(name, bench.issuer.seed("my-app"))
    settled(bench, "hello", "gone")
    bench.stop()
    bench.backend.lists = 0
    bench.start(resync_seconds=0.5)
    until(lambda: bench.backend.lists)
    bench.backend.deaf = lambda _change: True
    fresh = bench.issuer.seed("my-app")
    bench.apply("hello", fresh)
    bench.apply("late", bench.issuer.seed("my-app"))
    bench.store.remove(
        "Secret", core_names.TOKENS_NAMESPACE, SourceRef(NAMESPACE, "gone").companion
    )
    until(lambda: bench.grant("hello").seeds[-1] == fresh.hash(), "the login is adopted")
    until(lambda: bench.refreshed("late"), "the new Secret is found")
    until(lambda: bench.companion("gone"), "the companion is back")
    assert "the watch has missed" in caplog.text
    caplog.clear()
    lists = bench.backend.lists
    until(lambda: bench.backend.lists >= lists + 2, "a whole look is over")
    assert "the watch has missed" not in caplog.text, "what was found is not found again"
    assert bench.issuer.max_presentations() == 1


def test_tokens_are_planned_anew_when_the_clock_is_set_back(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = build()
    bench.apply("hello", bench.issuer.seed("my-app"))
    until(lambda: bench.refreshed("hello"))
    yesterday = bench.clock.now() - 86400.0
    monkeypatch.setattr(bench.clock, "now", lambda: yesterday)
    soon, key = format_rfc3339(yesterday + TIMEOUT), annotations.NEXT_REFRESH
    until(lambda: bench.source("hello").annotations[key] < soon, "not in a day")
