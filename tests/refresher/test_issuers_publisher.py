import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from csidriver.adapters.directory import DirectoryStore
from csidriver.adapters.oauth import TokenEndpoints
from csidriver.core.names import DRIVER_NAMESPACE, PUBLIC_ISSUERS
from csidriver.core.oauth.issuers import Issuer, Issuers
from csidriver.core.oauth.public_issuers import parse_public_issuers
from csidriver.core.refresh.state import RefreshContext
from csidriver.errors import StoreUnavailable
from csidriver.refresher.issuers_publisher import (
    CONFIG_POLL_SECONDS,
    READ_SECONDS,
    IssuersPublisher,
)
from csidriver.refresher.metrics import RefresherMetrics
from csidriver.refresher.ports import Ports
from csidriver.refresher.spool import Spool

NO_SPOOL = Spool(Path("/nowhere"))
POLLS = int(READ_SECONDS / CONFIG_POLL_SECONDS)


class Store(DirectoryStore):
    """Counts what it is asked, and fails while it is `broken`."""

    reads = writes = 0
    broken = False

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        self.reads += 1
        if self.broken:
            raise StoreUnavailable("out of order")
        return super().get_config_map(namespace, name)

    def patch_config_map(self, namespace: str, name: str, data: Mapping[str, str | None]) -> None:
        self.writes += 1
        super().patch_config_map(namespace, name, data)

    def seen(self) -> list[str]:
        (text,) = (super().get_config_map(DRIVER_NAMESPACE, PUBLIC_ISSUERS) or {}).values()
        return list(parse_public_issuers(text).by_name)


class Run(threading.Event):
    """The event that ends a publisher; it calls the steps of a test instead of waiting."""

    def __init__(self, store: Store, *names: str) -> None:
        super().__init__()
        self.configure(*names)
        self._store = store
        self._time = 0.0

    def configure(self, *names: str) -> None:
        self._issuers = Issuers({name: Issuer(name, f"https://{name}.example") for name in names})

    def poll(self, *steps: Callable[[], object]) -> None:
        """Check the configuration once, and once more after each step."""
        self.clear()
        self._steps = iter(steps)
        metrics = RefresherMetrics(CollectorRegistry())
        ports = Ports(self._store, NO_SPOOL, TokenEndpoints(), self, metrics, lambda: True)
        IssuersPublisher(ports, lambda: RefreshContext(self._issuers, "pod")).run(self)

    def now(self) -> float:
        return self._time

    def monotonic(self) -> float:
        return self._time

    def wait(self, timeout: float | None = None) -> bool:
        self._time += timeout or 0.0
        step = next(self._steps, self.set)
        step()
        return self.is_set()


def nothing() -> None:
    pass


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_what_changed_is_seen_at_the_next_poll_and_restored_within_a_minute(store: Store) -> None:
    run, manifest = Run(store, "one"), {"kind": "ConfigMap", "metadata": {"name": PUBLIC_ISSUERS}}
    edit = manifest | {"data": {"issuers.json": "{}", "more": "x"}}
    run.poll(lambda: store.apply(edit, DRIVER_NAMESPACE), *[nothing] * (POLLS - 1))
    assert store.seen() == ["one"]
    run.poll(lambda: run.configure("two", "three"))
    assert store.seen() == ["three", "two"]


def test_nothing_is_written_while_nothing_changes_and_little_is_read(store: Store) -> None:
    run = Run(store, "one")
    run.poll(*[nothing] * 3 * POLLS)
    run.poll()
    assert (store.writes, store.reads) == (1, 5)


def test_a_failure_is_logged_once_and_tried_again(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(store, "one")
    store.broken = True
    with caplog.at_level(logging.WARNING):
        mend = [lambda: setattr(store, "broken", False)]
        run.poll(*[nothing] * 2 * POLLS, *mend, *[nothing] * POLLS)
    assert [record.getMessage() for record in caplog.records] == [
        "users do not see the issuers: out of order"
    ]
    assert store.seen() == ["one"]
