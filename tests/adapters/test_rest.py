"""The Kubernetes API over HTTP, against a small server that misbehaves when told to."""

import contextlib
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3

from csidriver.adapters.rest import Credentials, RestStore, Timings
from csidriver.adapters.rest.api import LARGEST
from csidriver.adapters.rest.identity import Identity
from csidriver.adapters.rest.line import SOCKET_OPTIONS, Line
from csidriver.adapters.rest.watch import lines
from csidriver.core.annotations import STATUS
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreError, StoreRefused, StoreUnavailable
from tests.adapters.apiserver import PATIENCE, ApiServer, End, Reply, event, write_pem
from tests.adapters.exposure import shown

NEEDLE = "needle-that-nobody-may-see"
TOKEN = "tok-needle-that-nobody-may-see"
# A defect must end as a failure, and soon.
QUICK = Timings(connect=2.0, read=5.0, watch=(60, 60), silence=5.0, poll=0.05)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(tmp_path) as running:
        running.tokens.add(TOKEN)
        yield running


@pytest.fixture
def credentials(api: ApiServer, tmp_path: Path) -> Credentials:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n", encoding="ascii")
    return Credentials(api.url, api.pem, token_file=file)


@pytest.fixture
def store(credentials: Credentials) -> RestStore:
    return RestStore(credentials, QUICK)


@pytest.fixture
def seen(store: RestStore) -> Iterator[Iterator[Secret | None]]:
    over = threading.Event()
    # News that never come end as a failure, too.
    limit = threading.Timer(PATIENCE, over.set)
    limit.start()
    watch = store.watch_secret("tokens", "hello", over)
    with contextlib.closing(watch):  # type: ignore[type-var] # a generator, as it happens
        yield watch
    limit.cancel()


def text(secret: Secret | None) -> str | None:
    return None if secret is None else secret.data["document"].reveal()


def test_a_config_map_is_read_with_our_token(api: ApiServer, store: RestStore) -> None:
    api.put("page", {"template": "t", "more": "m"}, kind="configmaps", namespace="alice")
    assert store.get_config_map("alice", "page") == {"template": "t", "more": "m"}
    assert api.seen[0].path == "/api/v1/namespaces/alice/configmaps/page"
    assert api.seen[0].token == TOKEN


def test_no_config_map_and_an_empty_one_are_two_things(api: ApiServer, store: RestStore) -> None:
    assert store.get_config_map("alice", "page") is None
    api.next("get", Reply(200, b'{"metadata": {}}'))
    assert store.get_config_map("alice", "page") == {}


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(403, NEEDLE.encode()), StoreRefused),
        (Reply(500, NEEDLE.encode()), StoreUnavailable),
        (Reply(410), StoreUnavailable),
        (Reply(429), StoreUnavailable),
        (Reply(302, b"", "/api/v1/namespaces/alice/configmaps/other"), StoreUnavailable),
        (Reply(200, f'{{"data": "{NEEDLE}'.encode()), StoreUnavailable),
        (Reply(200, b"[]"), StoreUnavailable),
        (Reply(200, b'{"data": ["x"]}'), StoreUnavailable),
        (Reply(200, b"[" * 100_000), StoreUnavailable),
        (Reply(200, b'{"data": {"x": "' + b"x" * LARGEST + b'"}}'), StoreUnavailable),
    ],
    ids=[
        "forbidden",
        "in trouble",
        "gone",
        "too many",
        "redirect",
        "cut JSON",
        "a list",
        "odd data",
        "deep",
        "too long",
    ],
)
def test_bad_answers_become_our_errors(
    api: ApiServer, store: RestStore, reply: Reply, error: type[StoreError]
) -> None:
    api.next("get", reply)
    with pytest.raises(error) as caught:
        store.get_config_map("alice", "page")
    assert len(api.seen) == 1
    assert NEEDLE not in shown(caught.value)
    assert TOKEN not in shown(caught.value)


def test_a_refusal_names_the_object_and_the_right(api: ApiServer, store: RestStore) -> None:
    api.next("get", Reply(403))
    with pytest.raises(StoreRefused, match=r"ConfigMap alice/page.*get configmaps.*alice"):
        store.get_config_map("alice", "page")
    api.next("list", Reply(403))
    with pytest.raises(StoreRefused, match=r"Secret tokens/hello.*list secrets.*tokens"):
        next(store.watch_secret("tokens", "hello", threading.Event()))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a,metadata.name!=a", "A"])
def test_names_that_cannot_be_are_not_asked_for(
    api: ApiServer, store: RestStore, name: str
) -> None:
    with pytest.raises(StoreRefused):
        store.get_config_map("alice", name)
    with pytest.raises(StoreRefused):
        next(store.watch_secret("tokens", name, threading.Event()))
    assert api.seen == []


def test_a_new_token_is_read_at_once_after_a_refusal(
    api: ApiServer, store: RestStore, credentials: Credentials
) -> None:
    store.get_config_map("alice", "page")
    api.tokens = {"new"}
    assert credentials.token_file is not None
    credentials.token_file.write_text("new", encoding="ascii")
    assert store.get_config_map("alice", "page") is None
    assert [request.token for request in api.seen] == [TOKEN, TOKEN, "new"]


def test_a_second_refusal_is_final(api: ApiServer, store: RestStore) -> None:
    api.next("get", Reply(401, NEEDLE.encode()), Reply(401))
    with pytest.raises(StoreRefused, match="credentials"):
        store.get_config_map("alice", "page")
    assert len(api.seen) == 2


def test_the_token_is_read_again_every_minute(api: ApiServer, credentials: Credentials) -> None:
    now = [0.0]
    store = RestStore(credentials, QUICK, monotonic=lambda: now[0])
    store.get_config_map("alice", "page")
    api.tokens.add("new")
    assert credentials.token_file is not None
    credentials.token_file.write_text("new", encoding="ascii")
    for now[0] in (59.0, 61.0):
        store.get_config_map("alice", "page")
    credentials.token_file.unlink()
    now[0] = 200.0
    store.get_config_map("alice", "page")
    assert [request.token for request in api.seen] == [TOKEN, TOKEN, "new", "new"]


def test_no_token_is_no_request(api: ApiServer, credentials: Credentials) -> None:
    assert credentials.token_file is not None
    credentials.token_file.unlink()
    with pytest.raises(StoreUnavailable, match="token file"):
        RestStore(credentials, QUICK).get_config_map("alice", "page")
    assert api.seen == []


def test_a_server_of_another_authority_gets_no_request(
    api: ApiServer, credentials: Credentials, tmp_path: Path
) -> None:
    write_pem(other := tmp_path / "other.pem")
    mutable = tmp_path / "ca.pem"
    mutable.write_bytes(other.read_bytes())
    store = RestStore(replace(credentials, authorities=mutable), QUICK)
    with pytest.raises(StoreUnavailable, match="not trusted"):
        store.get_config_map("alice", "page")
    assert api.seen == []
    api.pem.rename(mutable)
    assert store.get_config_map("alice", "page") is None


def test_a_server_that_is_away_or_silent_is_unavailable(
    api: ApiServer, credentials: Credentials
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    store = RestStore(replace(credentials, server=f"https://127.0.0.1:{port}"), QUICK)
    with pytest.raises(StoreUnavailable, match="refused"):
        store.get_config_map("alice", "page")
    api.next("get", Reply(body=None))
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        RestStore(credentials, replace(QUICK, read=0.1)).get_config_map("alice", "page")


def test_a_client_certificate_and_a_fixed_token_are_presented(api: ApiServer) -> None:
    pem = Sensitive(api.pem.read_text(encoding="ascii"))
    store = RestStore(Credentials(api.url, pem, pem, pem, Sensitive(TOKEN)), QUICK)
    assert store.get_config_map("alice", "page") is None
    assert api.seen[0].peer


def test_bad_material_is_named(api: ApiServer, credentials: Credentials, tmp_path: Path) -> None:
    bad = replace(credentials, authorities=tmp_path / "absent")
    with pytest.raises(StoreUnavailable, match="absent"):
        RestStore(bad, QUICK).get_config_map("alice", "page")
    assert api.seen == []


def test_plain_http_works_under_a_path(tmp_path: Path) -> None:
    with ApiServer(tmp_path, tls=False) as api:
        api.next("get", Reply(200, b'{"data": {"a": "b"}}'))
        store = RestStore(Credentials(f"{api.url}/k8s/"), QUICK)
        assert store.get_config_map("alice", "page") == {"a": "b"}
        assert api.seen[0].path == "/k8s/api/v1/namespaces/alice/configmaps/page"


def test_a_secret_is_followed_through_its_life(
    api: ApiServer, seen: Iterator[Secret | None]
) -> None:
    assert next(seen) is None
    for value in ("one", "two"):
        api.put("hello", {"document": value})
        assert text(next(seen)) == value
        # What a server does not do; nobody should take it for ours.
        api.send(event("ADDED", api.put("other", {"document": value})))
    api.remove("hello")
    assert next(seen) is None
    api.put("hello", {"document": "three"})
    assert text(next(seen)) == "three"
    assert (api.count("list"), api.count("watch")) == (1, 1)
    query = api.seen[1].query
    assert query["fieldSelector"] == "metadata.name=hello"
    assert query["allowWatchBookmarks"] == "true"


def test_only_our_annotations_survive(api: ApiServer, seen: Iterator[Secret | None]) -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": NEEDLE, STATUS: "Valid"}
    api.put("hello", {"document": "one"}, annotations=applied)
    secret = next(seen)
    assert secret is not None
    assert secret.annotations == {STATUS: "Valid"}


def test_a_watch_that_ends_goes_on_where_it_was(
    api: ApiServer, seen: Iterator[Secret | None]
) -> None:
    api.put("hello", {"document": "one"})
    assert text(next(seen)) == "one"
    two = api.put("hello", {"document": "two"})
    assert text(next(seen)) == "two"
    api.end(End.PROPER)
    api.put("hello", {"document": "three"})
    assert text(next(seen)) == "three"
    assert (api.count("list"), api.count("watch")) == (1, 2)
    assert api.seen[-1].query["resourceVersion"] == two["metadata"]["resourceVersion"]
    assert len({request.connection for request in api.seen}) == 1


def test_a_bookmark_moves_the_version_and_tells_nothing(
    api: ApiServer, seen: Iterator[Secret | None]
) -> None:
    api.put("hello", {"document": "one"})
    next(seen)
    pending = Pulled(seen)
    api.until(lambda: api.watches)
    api.bookmark()
    api.end(End.PROPER)
    api.until(lambda: api.count("watch") == 2)
    api.put("hello", {"document": "two"})
    assert text(pending.result()) == "two"
    assert api.seen[-1].query["resourceVersion"] == "106"


class Pulled:
    """The next of an iterator, taken in a thread."""

    def __init__(self, seen: Iterator[Secret | None]) -> None:
        self._got: list[Secret | None] = []
        self.error: StoreError | None = None
        self.ended = False
        self._seen = seen
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._got.append(next(self._seen))
        except StopIteration:
            self.ended = True
        except StoreError as error:
            self.error = error

    def join(self) -> None:
        assert self.ends_within(PATIENCE)

    def ends_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> Secret | None:
        self.join()
        return self._got[0]


@pytest.mark.parametrize("changed", [True, False], ids=["changed", "unchanged"])
@pytest.mark.parametrize("in_stream", [True, False], ids=["in a stream", "as a status"])
def test_an_expired_version_leads_to_a_new_list(
    api: ApiServer, seen: Iterator[Secret | None], *, in_stream: bool, changed: bool
) -> None:
    api.put("hello", {"document": "one"})
    next(seen)
    pending = Pulled(seen)
    api.until(lambda: api.watches)
    if changed:
        # Unseen by the watch, as if it had been away.
        watches, api.watches = api.watches, []
        api.put("hello", {"document": "two"})
        api.watches = watches
    api.forget()
    if not in_stream:
        api.next("watch", Reply(410))
    api.end(End.PROPER)
    api.until(lambda: api.count("list") == 2)
    if not changed:
        api.until(lambda: api.watches and api.seen[-1].verb == "watch")
        api.put("hello", {"document": "two"})
    assert text(pending.result()) == "two"


GARBAGE = {
    "no JSON": (f"{{{NEEDLE}\n".encode(),),
    "no object": (b"[1]\n",),
    "odd object": (f'{{"type": "ADDED", "object": "{NEEDLE}"}}\n'.encode(),),
    "no version": (event("ADDED", {"metadata": {"name": "hello"}}),),
    "odd data": (event("ADDED", {"metadata": {"resourceVersion": "9"}, "data": [NEEDLE]}),),
    "error": (event("ERROR", {"code": 500, "message": NEEDLE}),),
    "odd error": (event("ERROR", {"code": NEEDLE}),),
    "too long": (b"x" * (LARGEST // 2), b"x" * (LARGEST // 2), b"x"),
}


@pytest.mark.parametrize("chunks", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_in_a_stream_ends_the_watch(
    api: ApiServer, seen: Iterator[Secret | None], chunks: tuple[bytes, ...]
) -> None:
    next(seen)
    pending = Pulled(seen)
    api.until(lambda: api.watches)
    api.send(*chunks)
    pending.join()
    assert isinstance(pending.error, StoreUnavailable)
    assert NEEDLE not in shown(pending.error)


def test_a_cut_stream_is_an_error_that_keeps_nothing(
    api: ApiServer, seen: Iterator[Secret | None], store: RestStore
) -> None:
    next(seen)
    pending = Pulled(seen)
    api.until(lambda: api.watches)
    api.send(event("ADDED", {"data": {"document": NEEDLE}})[:-9])
    api.end(End.CUT)
    pending.join()
    assert isinstance(pending.error, StoreUnavailable)
    assert NEEDLE not in shown(pending.error)
    assert TOKEN not in shown(pending.error)
    api.put("hello", {"document": "one"})
    assert text(next(store.watch_secret("tokens", "hello", threading.Event()))) == "one"


def test_events_may_come_in_any_pieces(api: ApiServer, seen: Iterator[Secret | None]) -> None:
    next(seen)
    pending = Pulled(seen)
    api.until(lambda: api.watches)
    metadata = {"namespace": "tokens", "name": "hello"}
    whole = b"\n".join(
        event("MODIFIED", {"metadata": {**metadata, "resourceVersion": version}})
        for version in ("901", "902")
    )
    api.send(*(whole[at : at + 1] for at in range(len(whole))))
    first, second = pending.result(), next(seen)
    assert first is not None
    assert second is not None
    assert (first.resource_version, second.resource_version) == ("901", "902")


def test_nothing_secret_is_logged(
    api: ApiServer, seen: Iterator[Secret | None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")
    api.put("hello", {"document": NEEDLE})
    assert text(next(seen)) == NEEDLE
    api.next("watch", Reply(401), Reply(500, NEEDLE.encode()))
    with pytest.raises(StoreUnavailable):
        next(seen)
    assert "GET /api/v1/namespaces/tokens/secrets" in caplog.text, "libraries were listened to"
    assert NEEDLE not in caplog.text
    assert TOKEN not in caplog.text


def test_a_silent_stream_goes_on_over_another_connection(
    api: ApiServer, credentials: Credentials
) -> None:
    """As if a balancer had lost the server: nobody ends the connection, nothing comes."""
    store = RestStore(credentials, replace(QUICK, silence=1.0))
    watch = store.watch_secret("tokens", "hello", threading.Event())
    assert next(watch) is None
    pending = Pulled(watch)
    api.until(lambda: api.watches)
    api.send(event("MODIFIED", {"data": {"document": NEEDLE}})[:-9])
    lost, api.watches = api.watches, []
    api.put("hello", {"document": "one"})
    assert text(pending.result()) == "one"
    assert (api.count("list"), api.count("watch")) == (1, 2)
    assert len({request.connection for request in api.seen}) == 2
    api.watches += lost


def test_a_peer_that_is_gone_is_noticed(api: ApiServer, credentials: Credentials) -> None:
    store = RestStore(credentials, replace(QUICK, read=0.2, silence=0.2))
    watch = store.watch_secret("tokens", "hello", threading.Event())
    assert next(watch) is None
    pending = Pulled(watch)
    api.until(lambda: api.watches)
    api.next("watch", Reply(body=None))
    pending.join()
    assert isinstance(pending.error, StoreUnavailable)


def test_a_watch_without_an_answer_is_noticed(api: ApiServer, credentials: Credentials) -> None:
    store = RestStore(credentials, replace(QUICK, read=0.2, watch=(60, 60)))
    watch = store.watch_secret("tokens", "hello", threading.Event())
    assert next(watch) is None
    api.next("watch", Reply(body=None))
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        next(watch)


def test_a_stream_may_be_silent_for_longer_than_an_answer(
    api: ApiServer, credentials: Credentials
) -> None:
    store = RestStore(credentials, replace(QUICK, read=0.3))
    watch = store.watch_secret("tokens", "hello", threading.Event())
    assert next(watch) is None
    pending = Pulled(watch)
    # What a watch with the answer's patience would not live to see.
    assert not pending.ends_within(0.6)
    api.put("hello", {"document": "one"})
    assert text(pending.result()) == "one"
    assert api.count("watch") == 1


def test_a_refused_watch_is_refused(api: ApiServer, seen: Iterator[Secret | None]) -> None:
    next(seen)
    api.next("watch", Reply(403))
    with pytest.raises(StoreRefused, match="watch secrets"):
        next(seen)


def test_a_token_that_expires_between_watches_is_replaced(
    api: ApiServer, seen: Iterator[Secret | None]
) -> None:
    next(seen)
    api.next("watch", Reply(401))
    api.put("hello", {"document": "one"})
    assert text(next(seen)) == "one"


def test_a_server_that_ends_every_watch_is_left_alone(
    api: ApiServer, seen: Iterator[Secret | None]
) -> None:
    next(seen)
    api.next("watch", *[Reply(200, b"")] * 9)
    with pytest.raises(StoreUnavailable, match="again and again"):
        next(seen)
    assert api.count("watch") < 9


def test_watches_end_at_different_times(api: ApiServer, credentials: Credentials) -> None:
    store = RestStore(credentials, replace(QUICK, watch=Timings().watch), chance=random.Random(1))  # noqa: S311
    drawn = set()
    for number in range(4):
        stop = threading.Event()
        watch = store.watch_secret("tokens", f"s{number}", stop)
        next(watch)
        pending = Pulled(watch)
        api.until(lambda number=number: api.count("watch") == number + 1)  # type: ignore[misc]
        drawn.add(int(api.seen[-1].query["timeoutSeconds"]))
        stop.set()
        pending.join()
        assert pending.ended
    assert len(drawn) > 1
    assert all(240 <= seconds <= 480 for seconds in drawn)


@pytest.mark.parametrize("where", ["in a stream", "before an answer", "in a list"])
def test_stop_ends_a_blocked_watch_soon(
    api: ApiServer, credentials: Credentials, where: str
) -> None:
    timings = replace(QUICK, read=PATIENCE, watch=(60, 60), poll=Timings().poll)
    store, stop = RestStore(credentials, timings), threading.Event()
    watch = store.watch_secret("tokens", "hello", stop)
    verb = "list" if where == "in a list" else "watch"
    if where != "in a stream":
        api.next(verb, Reply(body=None))
    if verb == "watch":
        next(watch)
    pending = Pulled(watch)
    api.until(lambda: api.count(verb))
    began = time.monotonic()
    stop.set()
    pending.join()
    assert pending.ended
    assert time.monotonic() - began < 1.5


def test_stop_ends_a_handshake_soon(credentials: Credentials) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"https://127.0.0.1:{silent.getsockname()[1]}"
        timings = replace(QUICK, connect=PATIENCE)
        stop = threading.Event()
        store = RestStore(replace(credentials, server=server), timings)
        pending = Pulled(store.watch_secret("tokens", "hello", stop))
        connection, _ = silent.accept()
        with connection:
            began = time.monotonic()
            stop.set()
            pending.join()
    assert pending.ended
    assert time.monotonic() - began < 1.5


def test_nothing_is_left_behind(
    api: ApiServer, store: RestStore, seen: Iterator[Secret | None]
) -> None:
    next(seen)
    [closer] = [thread for thread in threading.enumerate() if thread.name == "rest-closer"]
    stop = threading.Event()
    other = store.watch_secret("tokens", "other", stop)
    next(other)
    pending = Pulled(other)
    api.until(lambda: api.watches)
    stop.set()
    pending.join()
    assert closer.is_alive()
    seen.close()  # type: ignore[attr-defined] # a generator, as it happens
    closer.join(PATIENCE)
    assert not closer.is_alive()
    assert text(next(store.watch_secret("tokens", "other", threading.Event()))) is None


def test_a_set_stop_asks_for_nothing(api: ApiServer, store: RestStore) -> None:
    stop = threading.Event()
    stop.set()
    assert list(store.watch_secret("tokens", "hello", stop)) == []
    assert api.seen == []


def test_connections_are_probed(api: ApiServer, credentials: Credentials) -> None:
    context = Identity(credentials, time.monotonic, 60.0).context()
    with contextlib.closing(Line(api.url, context)) as line:
        line.get("/api/v1/namespaces/alice/configmaps/page", {}, urllib3.Timeout(5.0)).close()
        assert line._socket is not None
        for level, option, value in SOCKET_OPTIONS:
            assert line._socket.getsockopt(level, option) == value


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_split_over_chunks(size: int) -> None:
    stream = b"one\n\ntwo\r\nthree\nhalf"
    chunks = (stream[at : at + size] for at in range(0, len(stream), size))
    assert list(lines(chunks)) == [b"one", b"two\r", b"three"]
