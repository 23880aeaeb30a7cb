import threading
import time
from dataclasses import replace

import pytest

from csidriver.adapters.kubernetes import KubernetesClient, KubernetesStore
from csidriver.core.kubernetes.change import Namespaces, SecretChange, TokenObject
from csidriver.core.names import SourceRef
from csidriver.errors import StoreRefused
from tests.adapters.kubernetes.requests import QUICK, source, status
from tests.adapters.kubernetes.scripted import Says, Stream
from tests.adapters.kubernetes.watching import (
    ALL,
    GRANTS,
    FakeCollections,
    WatchThread,
    of_source,
    path,
    watch_event,
)

# Seconds; a read that nobody cuts lasts longer.
SOON = QUICK.read - 1.0


@pytest.mark.parametrize("watch", [True, False], ids=["watch", "list"])
def test_a_missing_right_is_named(
    fake_collections: FakeCollections, store: KubernetesStore, *, watch: bool
) -> None:
    forbidden = status(403, "Forbidden", "User x cannot list resource")
    fake_collections.next(ALL, forbidden, watch=watch)
    with WatchThread(store) as seen:
        seen.join()
    assert isinstance(seen.error, StoreRefused)
    right = "the right to watch secrets" if watch else "the right to list secrets"
    assert f"{right} in all namespaces" in str(seen.error)


def test_a_namespace_that_refuses_us_stops_no_other(
    fake_collections: FakeCollections, client: KubernetesClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sources may or may not exist: neither is told, or their grants would be deleted."""
    forbidden = status(403, "Forbidden", "User x cannot list resource")
    fake_collections.items[path("alice")] = [source("8")]
    fake_collections.items[path("bob")] = [source("9", namespace="bob")]
    later = Stream()
    fake_collections.next(path("bob"), forbidden, watch=False)
    fake_collections.next(path("bob"), forbidden, later, watch=True)
    bob = SecretChange(SourceRef("bob", "token"), TokenObject.SOURCE, "9")
    with WatchThread(KubernetesStore(client, Namespaces(sources=("alice", "bob")))) as seen:
        assert [seen.next() for _ in range(3)] == [of_source("8"), None, bob]
        later.tell(watch_event("DELETED", source("10", namespace="bob")))
        assert seen.next() == replace(bob, resource_version="")
        asked = fake_collections.count(ALL, watch=False)
        assert asked == 0, "no right to see all namespaces is needed"
    assert seen.error is None
    assert caplog.text.count("in namespace bob") == 1


def test_a_stop_ends_blocked_reads_and_lists_at_once(
    fake_collections: FakeCollections, store: KubernetesStore
) -> None:
    fake_collections.next(GRANTS, Says(status=None), watch=True)
    began = time.monotonic()
    with WatchThread(store) as seen:
        assert seen.next() is None
        fake_collections.api.until(lambda: fake_collections.count(ALL, watch=True) == 1)
    for thread in [t for t in threading.enumerate() if t.name == "watch-source"]:
        thread.join(SOON)
        assert not thread.is_alive(), "its socket is cut"
    fake_collections.next(ALL, Says(status=None), watch=False)
    with WatchThread(store) as seen:
        fake_collections.api.until(lambda: fake_collections.count(ALL, watch=False) == 2)
    assert seen.error is None
    assert time.monotonic() - began < SOON
