"""The Kubernetes API as the refresher uses it, against a server that misbehaves when told to.

What a real one does is in tests/contract and tests/cluster.
"""

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csidriver.adapters.kubernetes import (
    KubernetesClient,
    KubernetesStore,
    LeaseStore,
    Timeouts,
    from_kubeconfig,
    from_pod,
)
from csidriver.adapters.kubernetes.credentials import CredentialSource
from csidriver.adapters.kubernetes.json_stream import MAX_OBJECT_BYTES, ListItemStream, lines
from csidriver.core.annotations import IS_TOKEN, SOURCE_NAME, SOURCE_NAMESPACE
from csidriver.core.kubernetes.change import Namespaces, SecretChange, TokenObject
from csidriver.core.kubernetes.event import Event
from csidriver.core.kubernetes.lease import LeaseRecord
from csidriver.core.kubernetes.secret import Secret, SecretPatch
from csidriver.core.names import FIELD_MANAGER, SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.errors import (
    InvalidSettings,
    StoreConflict,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)
from tests.adapters.exposure import shown
from tests.adapters.scripted import PATIENCE, Asked, Says, Scripted, Stream

NEEDLE = "needle-that-nobody-may-see"
TOKEN = "tok-needle-that-nobody-may-see"
QUICK = Timeouts(
    2.0, 5.0, watch=(5, 5), watch_silence=5.0, watch_retry=0.01, refused_retry=0.05, poll=0.02
)
REF = SourceRef("alice", "token")
BASE = Secret("alice", "token", uid="u1", resource_version="7")
PATCH = SecretPatch(data={"oauth": Sensitive(NEEDLE)})


@pytest.fixture
def api() -> Iterator[Scripted]:
    with Scripted() as running:
        yield running


def config(folder: Path, url: str, **user: Any) -> Path:
    path = folder / "kubeconfig"
    cluster = {"server": url}
    path.write_text(
        json.dumps(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                "clusters": [{"name": "here", "cluster": cluster}],
                "users": [{"name": "me", "user": user or {"token": TOKEN}}],
            }
        ),
        encoding="ascii",
    )
    return path


@pytest.fixture
def client(api: Scripted, tmp_path: Path) -> KubernetesClient:
    return KubernetesClient(from_kubeconfig(config(tmp_path, api.url)), QUICK)


@pytest.fixture
def store(client: KubernetesClient) -> KubernetesStore:
    return KubernetesStore(client)


def manifest(version: str = "8", **metadata: Any) -> dict[str, Any]:
    known = {"namespace": "alice", "name": "token", "resourceVersion": version}
    return {"kind": "Secret", "metadata": {**known, **metadata}, "data": {"oauth": "cjE="}}


def source(version: str = "8", name: str = "token", **metadata: Any) -> dict[str, Any]:
    return manifest(version, name=name, annotations={IS_TOKEN: "true"}, **metadata)


def test_a_patch_names_its_version_and_its_author(api: Scripted, store: KubernetesStore) -> None:
    written = {"manager": FIELD_MANAGER, "time": "2026-11-23T08:59:30Z"}
    api.answering = lambda _: Says(manifest("8", managedFields=[written]))
    patched = store.patch_secret(BASE, SecretPatch(data={"oauth": Sensitive("r1")}))
    assert (patched.resource_version, patched.age) == ("8", 30.0)
    [asked] = api.asked
    assert (asked.method, asked.path) == ("PATCH", "/api/v1/namespaces/alice/secrets/token")
    assert asked.query == {"fieldManager": FIELD_MANAGER}
    assert asked.headers["Content-Type"] == "application/merge-patch+json"
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert asked.body == {"metadata": {"resourceVersion": "7"}, "data": {"oauth": "cjE="}}


def test_a_delete_names_what_it_means(api: Scripted, store: KubernetesStore) -> None:
    store.delete_secret(BASE)
    assert api.asked[0].body == {"preconditions": {"resourceVersion": "7", "uid": "u1"}}


def status(code: int, reason: str = "", message: str = "", **details: str) -> Says:
    told = {"kind": "Status", "reason": reason, "message": message + NEEDLE, "details": details}
    return Says(told, code)


PATCHES: dict[str, tuple[Says, type[StoreError], str]] = {
    "changed": (status(409, "Conflict", kind="secrets"), StoreConflict, "changed"),
    "changed, in other words": (status(409, "Conflict", kind="Secret"), StoreConflict, "changed"),
    "changed, in no words": (Says(b"", 409), StoreConflict, "changed"),
    "quota is changing": (status(409, "Conflict", kind="resourcequotas"), StoreUnavailable, "busy"),
    "gone": (status(404, "NotFound"), StoreConflict, "does not exist"),
    "no right": (
        status(403, "Forbidden", "secrets is forbidden: User x cannot patch resource"),
        StoreRefused,
        "the right to patch secrets in namespace alice",
    ),
    "no quota": (status(403, "Forbidden", "exceeded quota"), StoreRefused, "quota"),
    "immutable": (status(422, "Invalid"), StoreRefused, "immutable"),
    "a webhook": (status(400, "", 'admission webhook "x" denied'), StoreRefused, "webhook"),
    "a webhook with a conflict": (
        status(409, "Conflict", 'admission webhook "x" denied', kind="secrets"),
        StoreRefused,
        "webhook",
    ),
    "too large": (status(413), StoreRefused, "413"),
    "unknown to it": (status(401), StoreRefused, "credentials"),
    "too many": (status(429, "TooManyRequests"), StoreUnavailable, "429"),
    "too slow": (status(504, "Timeout"), StoreUnavailable, "504"),
    "in trouble": (status(500, "InternalError"), StoreUnavailable, "500"),
    "elsewhere": (Says(b"", 307, {"Location": "/other"}), StoreUnavailable, "307"),
    "cut": (Says(status=0), StoreUnavailable, "failed"),
    "no JSON": (Says(f'{{"x": "{NEEDLE}'.encode()), StoreUnavailable, "JSON"),
    "no object": (Says(b"[1]"), StoreUnavailable, "JSON"),
    "no Secret": (Says({"metadata": NEEDLE}), StoreUnavailable, "Secret"),
    "odd data": (Says(manifest() | {"data": [NEEDLE]}), StoreUnavailable, "Secret"),
    "no version": (Says({"metadata": {"name": "token"}}), StoreUnavailable, "Secret"),
    "deep": (Says(b"[" * 100_000), StoreUnavailable, "JSON"),
    "too long": (Says(b'{"x": "' + b"x" * MAX_OBJECT_BYTES + b'"}'), StoreUnavailable, "too long"),
}


@pytest.mark.parametrize(("said", "error", "word"), PATCHES.values(), ids=PATCHES.keys())
def test_what_becomes_of_a_patch_that_fails(
    api: Scripted, store: KubernetesStore, said: Says, error: type[StoreError], word: str
) -> None:
    api.answering = lambda _: said
    with pytest.raises(StoreError, match=word) as caught:
        store.patch_secret(BASE, PATCH)
    assert type(caught.value) is error
    assert len(api.asked) == 1, "a write that may have arrived is not repeated by the transport"
    for secret in (NEEDLE, TOKEN, "bmVlZGxl"):
        assert secret not in shown(caught.value)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (status(409, "AlreadyExists", kind="secrets"), StoreConflict),
        (status(404, "NotFound"), StoreRefused),
        (status(403, "Forbidden", "being terminated"), StoreRefused),
        (status(422, "Invalid"), StoreRefused),
        (status(503), StoreUnavailable),
    ],
)
def test_what_becomes_of_a_create_that_fails(
    api: Scripted, store: KubernetesStore, said: Says, error: type[StoreError]
) -> None:
    api.answering = lambda _: said
    with pytest.raises(error):
        store.create_secret(BASE)


def test_a_server_that_says_nothing_is_unavailable(api: Scripted, tmp_path: Path) -> None:
    api.answering = lambda _: Says(status=None)
    access = from_kubeconfig(config(tmp_path, api.url))
    store = KubernetesStore(KubernetesClient(access, Timeouts.within(0.2)))
    with pytest.raises(StoreUnavailable, match="no answer in time"):
        store.patch_secret(BASE, PATCH)
    assert len(api.asked) == 1


def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    store = KubernetesStore(
        KubernetesClient(from_kubeconfig(config(tmp_path, "http://127.0.0.1:1")))
    )
    with pytest.raises(StoreUnavailable, match="connection refused"):
        store.get_secret("alice", "token")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?b", "A"])
def test_names_that_cannot_be_are_not_asked_for(
    api: Scripted, store: KubernetesStore, name: str
) -> None:
    with pytest.raises(StoreRefused):
        store.get_secret("alice", name)
    with pytest.raises(StoreRefused):
        store.get_secret(name, "token")
    assert api.asked == []


def test_requests_share_connections_and_threads_do_not_wait_for_each_other(
    api: Scripted, store: KubernetesStore
) -> None:
    together = threading.Barrier(32)

    api.answering = lambda _: Says(manifest())
    found: list[Secret | None] = []

    def work() -> None:
        together.wait(PATIENCE)
        found.extend(store.get_secret("alice", "token") for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(found) == 160
    assert len({asked.connection for asked in api.asked}) <= 32


# --- credentials


def test_a_new_token_is_read_at_once_after_a_refusal(api: Scripted, tmp_path: Path) -> None:
    for name, content in (("token", "old"), ("ca.crt", "unused")):
        (tmp_path / name).write_text(content, encoding="ascii")
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    access = from_pod(environment, tmp_path)
    assert access.authorization() == Sensitive("bearer old")
    (tmp_path / "token").write_text("new", encoding="ascii")
    assert access.authorization() == Sensitive("bearer old"), "it is looked at once a minute"
    assert access.reload(Sensitive("bearer old"))
    assert access.authorization() == Sensitive("bearer new")
    assert access.reload(Sensitive("bearer old")), "somebody else has renewed it"
    assert not access.reload(Sensitive("bearer new"))
    (tmp_path / "token").unlink()
    assert not access.reload(Sensitive("bearer new"))
    assert api.asked == []


def test_what_somebody_else_has_renewed_is_not_loaded_once_more() -> None:
    loads: list[Any] = []

    def load(configuration: Any) -> None:
        loads.append(configuration)
        configuration.api_key["authorization"] = str(len(loads))

    access = CredentialSource(load)
    assert access.reload(Sensitive("1"))
    assert access.reload(Sensitive("1"))
    assert (len(loads), access.authorization()) == (2, Sensitive("2"))


def test_a_refusal_leads_to_one_more_request_with_another_token(
    api: Scripted, tmp_path: Path
) -> None:
    store = KubernetesStore(KubernetesClient(from_kubeconfig(config(tmp_path, api.url)), QUICK))
    config(tmp_path, api.url, token="new")
    api.answering = lambda asked: (
        Says(manifest()) if asked.headers["Authorization"] == "Bearer new" else Says(b"", 401)
    )
    assert store.get_secret("alice", "token") is not None
    assert store.get_secret("alice", "token") is not None
    tokens = [asked.headers["Authorization"] for asked in api.asked]
    assert tokens == [f"Bearer {TOKEN}", "Bearer new", "Bearer new"]


def test_a_token_that_is_no_header_is_not_shown(api: Scripted, tmp_path: Path) -> None:
    access = from_kubeconfig(config(tmp_path, api.url, token=f"{NEEDLE}\n{NEEDLE}"))
    with pytest.raises(StoreUnavailable) as caught:
        KubernetesStore(KubernetesClient(access, QUICK)).get_secret("alice", "token")
    assert NEEDLE not in shown(caught.value)
    assert api.asked == []


def test_a_pod_without_service_account_is_told_all_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        from_pod({"KUBERNETES_SERVICE_HOST": ""}, tmp_path)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        ("{current-context: x}", "cannot be used"),
        (None, "not a file"),
    ],
)
def test_a_bad_kubeconfig_is_named_and_not_quoted(
    tmp_path: Path, content: str | None, problem: str
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content + f"# {NEEDLE}", encoding="ascii")
    with pytest.raises(InvalidSettings, match=problem) as caught:
        from_kubeconfig(path)
    assert str(path) in str(caught.value)
    assert NEEDLE not in shown(caught.value)


def test_a_kubeconfig_that_lets_anybody_listen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="https"):
        from_kubeconfig(config(tmp_path, "http://api.example"))
    path = config(tmp_path, "https://api.example")
    loaded = json.loads(path.read_text())
    loaded["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    path.write_text(json.dumps(loaded))
    with pytest.raises(InvalidSettings, match="insecure"):
        from_kubeconfig(path)


def test_proxies_of_the_environment_are_for_others(
    api: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    api.answering = lambda _: Says(manifest())
    store = KubernetesStore(KubernetesClient(from_kubeconfig(config(tmp_path, api.url)), QUICK))
    assert store.get_secret("alice", "token") is not None


# --- lists


def test_a_list_is_read_page_by_page(api: Scripted, store: KubernetesStore) -> None:
    def answering(asked: Asked) -> Says:
        page = int(asked.query.get("continue", "0"))
        more = {"continue": str(page + 1)} if page < 2 else {}
        items = [manifest(name=f"p{page}-{n}") for n in range(2)]
        document = {"metadata": {"resourceVersion": "9", **more}, "items": items}
        return Says(document, in_pieces=True)

    api.answering = answering
    found = list(store.list_secrets("alice", "Opaque"))
    assert [secret.name for secret in found] == ["p0-0", "p0-1", "p1-0", "p1-1", "p2-0", "p2-1"]
    assert all(asked.query["limit"] == "500" for asked in api.asked)
    assert all(asked.query["fieldSelector"] == "type=Opaque" for asked in api.asked)
    assert len({asked.connection for asked in api.asked}) == 1


@pytest.mark.parametrize(
    "said",
    [
        Says(b"", 410),
        Says(b"[]"),
        Says(b'{"items": [{"a": 1}'),
        Says(b'{"items": [1]}'),
        Says({"items": []}),
        Says({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {}}]}),
        Says(f'{{"items": [{{"metadata": {{"name": "{NEEDLE}"}}, ]}}'.encode()),
    ],
    ids=["expired", "no object", "cut", "no items", "no version", "no Secret", "bad"],
)
def test_a_bad_list_is_unavailable(api: Scripted, store: KubernetesStore, said: Says) -> None:
    api.answering = lambda _: said
    with pytest.raises(StoreUnavailable) as caught:
        list(store.list_secrets("alice", "Opaque"))
    assert NEEDLE not in shown(caught.value)


def test_an_item_without_end_is_not_waited_for(api: Scripted, store: KubernetesStore) -> None:
    api.answering = lambda _: Says(b'{"items": [{"a": "' + b"x" * (3 * MAX_OBJECT_BYTES) + b'"}]}')
    with pytest.raises(StoreUnavailable, match="over"):
        list(store.list_secrets("alice", "Opaque"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=3)


@given(
    items=st.lists(OBJECTS, max_size=4),
    metadata=OBJECTS,
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    ascii_only=st.booleans(),
)
def test_a_list_may_come_in_any_pieces(
    *, items: list[dict[str, Any]], metadata: dict[str, Any], sizes: list[int], ascii_only: bool
) -> None:
    document = {"kind": "List", "count": 12, "metadata": metadata, "items": items, "end": 34}
    raw = json.dumps(document, ensure_ascii=ascii_only).encode()
    pieces: list[bytes] = []
    at = 0
    while at < len(raw):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(raw[at : at + size])
        at += size
    found = ListItemStream(pieces)
    assert list(found) == items
    assert found.metadata == metadata


def test_a_list_without_items_is_empty() -> None:
    found = ListItemStream([b' { "items" : null , "metadata" : {"a": 1} } '])
    assert list(found) == []
    assert found.metadata == {"a": 1}


def test_lines_may_come_in_any_pieces() -> None:
    assert list(lines([b"a", b"b\n\nc\n", b"d"])) == [b"ab", b"c"]
    with pytest.raises(StoreUnavailable):
        list(lines([b"x" * MAX_OBJECT_BYTES, b"x"]))


# --- watches


class World:
    """Lists and watches of the collections that `watch_changes` asks for; `streams` by path."""

    def __init__(self, api: Scripted) -> None:
        self.api = api
        self.items: dict[str, list[dict[str, Any]]] = {}
        self.answers: dict[tuple[str, bool], list[Says | Stream]] = {}
        api.answering = self._answer

    def next(self, path: str, *answers: Says | Stream, watch: bool) -> None:
        """What the next requests for a collection get."""
        self.answers.setdefault((path, watch), []).extend(answers)

    def count(self, path: str, *, watch: bool) -> int:
        return sum(a.path == path and a.is_watch == watch for a in self.api.asked)

    def watches(self, path: str) -> list[Asked]:
        return [a for a in self.api.asked if a.path == path and a.is_watch]

    def _answer(self, asked: Asked) -> Says | Stream:
        if planned := self.answers.get((asked.path, asked.is_watch)):
            return planned.pop(0)
        if asked.is_watch:
            return Stream()
        items = self.items.get(asked.path, [])
        return Says({"metadata": {"resourceVersion": "100"}, "items": items})


ALL = "/api/v1/secrets"
GRANTS = "/api/v1/namespaces/oauth2-csi/secrets"


@pytest.fixture
def world(api: Scripted) -> World:
    return World(api)


class Following:
    """What a watch tells, taken in a thread so that a test never waits for ever."""

    def __init__(self, store: KubernetesStore) -> None:
        self.stop = threading.Event()
        self.error: StoreError | None = None
        self._said: list[SecretChange | None] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, args=(store,))
        self._thread.start()

    def _run(self, store: KubernetesStore) -> None:
        try:
            for change in store.watch_changes(self.stop):
                with self._changed:
                    self._said.append(change)
                    self._changed.notify_all()
        except StoreError as error:
            self.error = error

    def next(self) -> SecretChange | None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._said, PATIENCE), "nothing was told"
            return self._said.pop(0)

    def end(self, within: float = PATIENCE) -> None:
        self.stop.set()
        self.join(within)

    def join(self, within: float = PATIENCE) -> None:
        self._thread.join(within)
        assert not self._thread.is_alive()


@pytest.fixture
def following(world: World, store: KubernetesStore) -> Iterator[Callable[[], Following]]:
    started: list[Following] = []

    def start(from_store: KubernetesStore = store) -> Following:
        started.append(Following(from_store))
        return started[-1]

    yield start
    for each in started:
        each.end()
    assert world.api.asked


def told(kind: str, document: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": document}


def of_source(version: str, name: str = "token") -> SecretChange:
    return SecretChange(SourceRef("alice", name), TokenObject.SOURCE, version)


def test_only_metadata_is_asked_for(
    world: World, following: Callable[[], Following], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    applied = {"kubectl.kubernetes.io/last-applied-configuration": NEEDLE}
    secret = source()
    secret["metadata"]["annotations"] |= applied
    world.items[ALL] = [secret, manifest(name="other", annotations=applied)]
    seen = following()
    assert seen.next() == of_source("8")
    assert seen.next() is None
    world.api.until(lambda: len([a for a in world.api.asked if a.is_watch]) == 3)
    assert all("as=PartialObjectMetadata" in a.headers["Accept"] for a in world.api.asked)
    assert {a.query["allowWatchBookmarks"] for a in world.api.asked if a.is_watch} == {"true"}
    assert {a.query.get("fieldSelector") for a in world.api.asked} == {
        "type=oauth2.csi.cern.ch/grant",
        "type=oauth2.csi.cern.ch/access-token",
        None,
    }
    assert NEEDLE not in caplog.text


def test_nothing_is_told_twice_and_the_end_of_the_beginning_once(
    world: World, following: Callable[[], Following]
) -> None:
    stream = Stream()
    world.items[ALL] = [source("8"), source("9", "other")]
    world.next(ALL, stream, watch=True)
    seen = following()
    assert {seen.next(), seen.next()} == {of_source("8"), of_source("9", "other")}
    assert seen.next() is None
    ours = [{"manager": FIELD_MANAGER, "time": "2026-11-23T09:00:00Z"}]
    stream.tell(
        told("MODIFIED", source("8")),
        told("ADDED", manifest("10", name="plain")),
        told("DELETED", manifest("11", name="plain")),
        told("MODIFIED", source("12", managedFields=ours)),
        told("MODIFIED", manifest("13")),
        told("DELETED", manifest("14")),
        told("ADDED", source("15")),
        told("DELETED", source("16")),
    )
    assert seen.next() == SecretChange(REF, TokenObject.SOURCE, "12", written_by_driver=True)
    assert [seen.next() for _ in range(3)] == [of_source(""), of_source("15"), of_source("")]


def test_a_grant_is_told_by_its_annotations(
    world: World, following: Callable[[], Following]
) -> None:
    notes = {SOURCE_NAMESPACE: "alice", SOURCE_NAME: "token"}
    world.items[GRANTS] = [manifest("8", name=REF.grant, annotations=notes)]
    stream = Stream()
    world.next(GRANTS, stream, watch=True)
    seen = following()
    assert seen.next() == SecretChange(REF, TokenObject.GRANT, "8")
    assert seen.next() is None
    stream.tell(told("MODIFIED", manifest("9", name=REF.grant)))
    assert seen.next() == SecretChange(REF, TokenObject.GRANT, "")


@pytest.mark.parametrize("how", ["properly", "by a cut", "in silence"])
def test_a_watch_that_ends_goes_on_where_it_was(
    world: World, client: KubernetesClient, tmp_path: Path, how: str
) -> None:
    first = Stream(told("ADDED", source("101")), told("BOOKMARK", manifest("150")))
    last = Stream(told("MODIFIED", source("151")))
    world.next(ALL, first, last, watch=True)
    timings = Timeouts(
        2.0, 2 * PATIENCE, watch=(5, 5), watch_silence=0.2, watch_retry=0.01, poll=0.02
    )
    quick = KubernetesClient(from_kubeconfig(config(tmp_path, world.api.url)), timings)
    seen = Following(KubernetesStore(quick if how == "in silence" else client))
    try:
        assert seen.next() is None
        assert seen.next() == of_source("101")
        if how != "in silence":
            (first.end if how == "properly" else first.cut)()
        assert seen.next() == of_source("151")
        versions = [asked.query["resourceVersion"] for asked in world.watches(ALL)]
        assert versions[:2] == ["100", "150"]
        assert world.count(ALL, watch=False) == 1
    finally:
        seen.end()


@pytest.mark.parametrize("in_stream", [True, False], ids=["in a stream", "as a status"])
def test_an_expired_version_leads_to_a_new_list_and_its_differences(
    world: World, following: Callable[[], Following], *, in_stream: bool
) -> None:
    world.items[ALL] = [source("8"), source("9", "gone"), source("10", "same")]
    expired = {"type": "ERROR", "object": {"code": 410, "message": NEEDLE}}
    first = Stream()
    world.next(ALL, first, watch=True)
    seen = following()
    assert [seen.next() for _ in range(4)][-1] is None
    world.items[ALL] = [source("20"), source("10", "same"), source("21", "new")]
    if in_stream:
        first.tell(expired)
    else:
        world.next(ALL, Says(b"", 410), watch=True)
        first.end()
    changes = {seen.next() for _ in range(3)}
    assert changes == {of_source("20"), of_source("21", "new"), of_source("", "gone")}
    world.api.until(lambda: world.count(ALL, watch=True) >= 2)
    assert world.count(ALL, watch=False) == 2


def test_a_watch_that_keeps_failing_is_an_error(
    world: World, following: Callable[[], Following]
) -> None:
    world.next(ALL, *(Says(b"", 500) for _ in range(2)), watch=True)
    seen = following()
    seen.join()
    assert isinstance(seen.error, StoreUnavailable)
    assert world.count(ALL, watch=True) == 2


GARBAGE = {
    "no JSON": f"{{{NEEDLE}\n".encode(),
    "no object": b"[1]\n",
    "odd object": {"type": "ADDED", "object": NEEDLE},
    "no version": told("ADDED", {"metadata": {"name": "token"}}),
    "error": told("ERROR", {"code": 500, "message": NEEDLE}),
    "odd error": {"type": "ERROR", "object": NEEDLE},
    "too long": b"x" * (MAX_OBJECT_BYTES + 1),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_again_and_again_ends_the_watch(
    world: World, following: Callable[[], Following], garbage: Any
) -> None:
    world.next(ALL, *(Stream(garbage) for _ in range(2)), watch=True)
    seen = following()
    seen.join()
    assert isinstance(seen.error, StoreUnavailable)
    assert NEEDLE not in shown(seen.error)


def test_a_watch_that_ends_at_once_again_and_again_is_an_error(
    world: World, following: Callable[[], Following]
) -> None:
    world.next(ALL, *(Stream().end() for _ in range(2)), watch=True)
    seen = following()
    seen.join()
    assert re.search("watch Secrets of all namespaces.*ended at once", str(seen.error))


@pytest.mark.parametrize("watch", [True, False], ids=["watch", "list"])
def test_a_missing_right_is_named(
    world: World, following: Callable[[], Following], *, watch: bool
) -> None:
    forbidden = status(403, "Forbidden", "User x cannot list resource")
    world.next(ALL, forbidden, watch=watch)
    seen = following()
    seen.join()
    assert isinstance(seen.error, StoreRefused)
    right = "the right to watch secrets" if watch else "the right to list secrets"
    assert f"{right} in all namespaces" in str(seen.error)


def path(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets"


@pytest.mark.parametrize("watch", [True, False], ids=["watch", "list"])
def test_a_namespace_that_refuses_us_stops_no_other(
    world: World, client: KubernetesClient, caplog: pytest.LogCaptureFixture, *, watch: bool
) -> None:
    """Its sources may or may not exist: neither is told, or their grants would be deleted."""
    places = Namespaces(sources=("alice", "bob"))
    forbidden = status(403, "Forbidden", "User x cannot list resource")
    world.items[path("alice")] = [source("8")]
    world.items[path("bob")] = [source("9", namespace="bob")]
    later = Stream()
    if watch:
        world.next(path("bob"), forbidden, forbidden, watch=True)
    else:
        world.next(path("bob"), forbidden, forbidden, watch=False)
    world.next(path("bob"), later, watch=True)
    seen = Following(KubernetesStore(client, places))
    bob = SecretChange(SourceRef("bob", "token"), TokenObject.SOURCE, "9")
    try:
        first = [seen.next() for _ in range(3 if watch else 2)]
        assert of_source("8") in first
        assert first[-1] is None
        assert (bob in first) is watch
        if not watch:
            assert seen.next() == bob
        later.tell(told("DELETED", source("10", namespace="bob")))
        assert seen.next() == SecretChange(SourceRef("bob", "token"), TokenObject.SOURCE, "")
        assert world.count(ALL, watch=False) == 0, "no right to see all namespaces is needed"
    finally:
        seen.end()
    assert seen.error is None
    assert caplog.text.count("in namespace bob") == 1


def test_a_stop_ends_blocked_reads_at_once(world: World, store: KubernetesStore) -> None:
    world.next(GRANTS, Says(status=None), watch=True)
    before = {thread.name for thread in threading.enumerate()}
    seen = Following(store)
    assert seen.next() is None
    world.api.until(lambda: world.count(ALL, watch=True) == 1)
    seen.end(within=1.0)
    watches = [t for t in threading.enumerate() if t.name == "watch-source"]
    for thread in watches:
        thread.join(1.0)
        assert not thread.is_alive(), "its socket is cut"
    assert "watch-source" not in before


def test_a_stop_ends_a_blocked_list_at_once(world: World, store: KubernetesStore) -> None:
    world.next(ALL, Says(status=None), watch=False)
    seen = Following(store)
    world.api.until(lambda: world.count(ALL, watch=False) == 1)
    seen.end(within=1.0)
    assert seen.error is None


# --- events and the lease


@pytest.mark.parametrize("name", ["a" * 253, "a" * 199 + ".b", "a" * 198 + "-.b"])
def test_an_event_of_a_long_name_fits(api: Scripted, store: KubernetesStore, name: str) -> None:
    event = Event(SourceRef("alice", name), "u1", "Ready", "m" * 5000, normal=True)
    store.create_event(event)
    body = api.asked[0].body
    assert len(body["metadata"]["name"]) < 253
    assert len(body["message"]) == 1024


def test_a_lease_promises_whole_seconds_and_drops_an_empty_holder(
    api: Scripted, client: KubernetesClient
) -> None:
    api.answering = lambda asked: Says(
        asked.body | {"metadata": asked.body["metadata"] | {"resourceVersion": "8"}}
    )
    records = LeaseStore(client, "oauth2-csi")
    stored = records.write(LeaseRecord("us", 2.5, 10.25, 20.5, 3, "7"))
    assert stored == LeaseRecord("us", 3.0, 10.25, 20.5, 3, "8")
    [asked] = api.asked
    assert (asked.method, asked.body["metadata"]["resourceVersion"]) == ("PUT", "7")
    assert (
        asked.path
        == "/apis/coordination.k8s.io/v1/namespaces/oauth2-csi/leases/oauth2-csi-refresher"
    )
    assert asked.body["spec"]["renewTime"] == "1970-01-01T00:00:20.500000Z"
    records.write(LeaseRecord("", 3.0))
    assert api.asked[1].method == "POST"
    assert "holderIdentity" not in api.asked[1].body["spec"]


@pytest.mark.parametrize("document", [{"metadata": NEEDLE}, {"metadata": {}, "spec": [NEEDLE]}])
def test_an_odd_lease_is_unavailable(
    api: Scripted, client: KubernetesClient, document: dict[str, Any]
) -> None:
    api.answering = lambda _: Says(document)
    with pytest.raises(StoreUnavailable) as caught:
        LeaseStore(client, "oauth2-csi").read()
    assert NEEDLE not in shown(caught.value)
