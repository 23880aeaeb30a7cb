import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csidriver.adapters.kubernetes import (
    KubernetesClient,
    KubernetesStore,
    Timeouts,
    from_kubeconfig,
)
from csidriver.adapters.kubernetes.json_stream import MAX_OBJECT_BYTES
from csidriver.core.annotations import IS_TOKEN
from csidriver.errors import StoreUnavailable
from tests.adapters.exposure import shown
from tests.adapters.kubernetes.requests import NEEDLE, REF, config, manifest, source
from tests.adapters.kubernetes.scripted import PATIENCE, Says, Stream
from tests.adapters.kubernetes.watching import (
    ALL,
    COMPANIONS,
    GRANTS,
    FakeCollections,
    WatchThread,
    of_source,
    watch_event,
)


def test_only_metadata_is_asked_for(
    fake_collections: FakeCollections, store: KubernetesStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret, asked = source(), fake_collections.api.asked
    secret["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = NEEDLE
    fake_collections.items[ALL] = [secret, manifest(name="other")]
    with WatchThread(store) as seen:
        assert [seen.next(), seen.next()] == [of_source("8"), None]
        fake_collections.api.until(lambda: len([a for a in asked if a.is_watch]) == 3)
        assert all("as=PartialObjectMetadata" in a.headers["Accept"] for a in asked)
        assert {a.query["allowWatchBookmarks"] for a in asked if a.is_watch} == {"true"}
        types = {f"type=oauth2.csi.cern.ch/{kind}" for kind in ("grant", "access-token")}
        assert {a.query.get("fieldSelector") for a in asked} == {*types, None}
        assert NEEDLE not in caplog.text


@pytest.mark.parametrize("end", [Stream.end, Stream.cut], ids=["properly", "by a cut"])
def test_a_watch_that_ends_goes_on_where_it_was(
    fake_collections: FakeCollections, store: KubernetesStore, end: Callable[[Stream], object]
) -> None:
    first = Stream(watch_event("ADDED", source("101")), watch_event("BOOKMARK", manifest("150")))
    last = Stream(watch_event("MODIFIED", source("151")))
    fake_collections.next(ALL, first, last, watch=True)
    with WatchThread(store) as seen:
        assert seen.next() is None
        assert seen.next() == of_source("101")
        end(first)
        assert seen.next() == of_source("151")
        versions = [asked.query["resourceVersion"] for asked in fake_collections.watches(ALL)]
        assert versions[:2] == ["100", "150"]
        assert fake_collections.count(ALL, watch=False) == 1


def test_a_watch_in_silence_goes_on_where_it_was(
    fake_collections: FakeCollections, tmp_path: Path
) -> None:
    for path in (GRANTS, COMPANIONS):  # has not begun, so that its silence is no failure
        fake_collections.next(path, *[Says(status=None)] * 9, watch=True)
    first = Stream(watch_event("ADDED", source("101")), watch_event("BOOKMARK", manifest("150")))
    last = Stream(watch_event("MODIFIED", source("151")))
    fake_collections.next(ALL, first, last, watch=True)
    timings = Timeouts(
        2.0, 2 * PATIENCE, watch=(5, 5), watch_silence=0.5, watch_retry=0.01, poll=0.02
    )
    client = KubernetesClient(from_kubeconfig(config(tmp_path, fake_collections.api.url)), timings)
    with WatchThread(KubernetesStore(client)) as seen:
        assert [seen.next() for _ in range(3)] == [None, of_source("101"), of_source("151")]
        versions = [asked.query["resourceVersion"] for asked in fake_collections.watches(ALL)]
        assert versions[:2] == ["100", "150"]
        assert fake_collections.count(ALL, watch=False) == 1


@pytest.mark.parametrize("in_stream", [True, False], ids=["in a stream", "as a status"])
def test_an_expired_version_leads_to_a_new_list_and_its_differences(
    fake_collections: FakeCollections, store: KubernetesStore, *, in_stream: bool
) -> None:
    fake_collections.items[ALL] = [source("8"), source("9", "gone"), source("10", "same")]
    expired = {"type": "ERROR", "object": {"code": 410, "message": NEEDLE}}
    first = Stream()
    fake_collections.next(ALL, first, watch=True)
    with WatchThread(store) as seen:
        assert [seen.next() for _ in range(4)][-1] is None
        fake_collections.items[ALL] = [source("20"), source("10", "same"), source("21", "new")]
        if in_stream:
            first.tell(expired)
        else:
            fake_collections.next(ALL, Says(b"", 410), watch=True)
            first.end()
        changes = {seen.next() for _ in range(3)}
        assert changes == {of_source("20"), of_source("21", "new"), of_source("", "gone")}
        fake_collections.api.until(lambda: fake_collections.count(ALL, watch=True) >= 2)
        assert fake_collections.count(ALL, watch=False) == 2


GARBAGE = {
    "no version": watch_event("ADDED", {"metadata": {"name": "token"}}),
    "error": watch_event("ERROR", {"code": 500, "message": NEEDLE}),
    "too long": b"x" * (MAX_OBJECT_BYTES + 1),
    "no watch": Says(b"", 500),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_again_and_again_ends_the_watch(
    fake_collections: FakeCollections, store: KubernetesStore, garbage: Any
) -> None:
    answers = (garbage if isinstance(garbage, Says) else Stream(garbage) for _ in range(2))
    fake_collections.next(ALL, *answers, watch=True)
    with WatchThread(store) as seen:
        seen.join()
    assert isinstance(seen.error, StoreUnavailable)
    assert NEEDLE not in shown(seen.error)
    assert fake_collections.count(ALL, watch=True) == 2


def _raw(kind: str, version: str, uid: str = "u1", rest: str = "") -> bytes:
    """Return an event as an API server spells it, with more metadata after the version."""
    head = '"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1"'
    own = f'"name":"token","namespace":"alice","uid":"{uid}","resourceVersion":"{version}"'
    return f'{{"type":"{kind}","object":{{{head},"metadata":{{{own}{rest}}}}}}}\n'.encode()


ANNOTATED = f',"annotations":{{"{IS_TOKEN}":"true","resourceVersion":"9"}}'


def test_own_writes_are_not_decoded_and_nothing_else_is_taken_for_one(
    fake_collections: FakeCollections, store: KubernetesStore
) -> None:
    stream, after = Stream(), Stream()
    fake_collections.next(ALL, stream, after, watch=True)
    own = {("u1", "9"): REF, ("u1", "97"): REF}
    with WatchThread(store, lambda *write: own.get(write)) as seen:
        assert seen.next() is None
        # Of what nobody can decode, nothing was decoded.
        stream.tell(_raw("ADDED", "9", rest=",no JSON"), _raw("MODIFIED", "97", rest=",no JSON"))
        foreign = [("10", "u1"), ("9", "u2"), ("979", "u1")]
        stream.tell(*(_raw("MODIFIED", version, uid, ANNOTATED) for version, uid in foreign))
        assert [seen.next() for _ in foreign] == [of_source(version) for version, _ in foreign]
        deleted = _raw("DELETED", "97", rest=ANNOTATED)
        stream.tell(_raw("MODIFIED", "97", rest=",no JSON"), deleted).end()
        assert seen.next() == of_source("")
        fake_collections.api.until(lambda: fake_collections.count(ALL, watch=True) == 2)
        assert fake_collections.watches(ALL)[1].query["resourceVersion"] == "97"
