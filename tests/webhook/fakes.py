"""Stand-ins for what is around certificates: a clock to turn, a configuration in memory."""

import threading

from csidriver.core.admission.certificates import CurrentCaBundles
from csidriver.errors import StoreConflict, StoreError


class FakeClock:
    """A clock that goes on only when told to."""

    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.time += seconds
        return event.is_set()


class FakeConfiguration:
    """A MutatingWebhookConfiguration; `refuse` is raised by reads or writes, `busy` by a write."""

    def __init__(self, *bundles: str) -> None:
        self.bundles: tuple[str, ...] | None = bundles
        self.version = 1
        self.unreadable: StoreError | None = None
        self.unwritable: StoreError | None = None

    def __str__(self) -> str:
        return "MutatingWebhookConfiguration ours"

    def read(self) -> CurrentCaBundles | None:
        if self.unreadable is not None:
            raise self.unreadable
        if self.bundles is None:
            return None
        return CurrentCaBundles(self.bundles, str(self.version), ())

    def write(self, base: CurrentCaBundles, bundle: str) -> None:
        if self.unwritable is not None:
            raise self.unwritable
        if base.version != str(self.version):
            raise StoreConflict("it has changed")
        self.set(*[bundle] * len(base.bundles))

    def set(self, *bundles: str) -> None:
        self.bundles = bundles
        self.version += 1
