"""What both sources of companions have in common is in tests/contract/test_companions.py."""

import threading
from collections.abc import Iterator

import pytest

from csidriver.core.annotations import COMPANION_SECRET_TYPE
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.errors import InvalidSecret, StoreError, StoreRefused, StoreUnavailable
from csidriver.node.companions.secret_watches import SecretWatches
from tests.node.companions.nodes import States
from tests.node.plugin import POD, SOURCE, TOKENS, companion, eventually, follow_threads, token


class Scripted:
    """A store whose first watch fails, and whose second one has this Secret."""

    def __init__(self, error: StoreError, written: Companion) -> None:
        self.error: StoreError | None = error
        kind, known, data = COMPANION_SECRET_TYPE, written.annotations(), written.data()
        self.secret = Secret(TOKENS, SOURCE.companion, type=kind, annotations=known, data=data)

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        assert (namespace, name) == (TOKENS, SOURCE.companion)
        error, self.error = self.error, None
        if error is not None:
            raise error
        yield self.secret
        stop.wait()

    def get_namespace_uid(self, namespace: str) -> str:
        raise NotImplementedError

    def get_config_map(self, namespace: str, name: str) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreRefused("no")])
def test_a_store_in_trouble_is_an_error_and_asked_again(error: StoreError) -> None:
    states = States()
    store = Scripted(error, companion(token("at-1")))
    end = SecretWatches(store, TOKENS, pause=0.0).follow(SOURCE, POD, states.receive)
    states.generation(1)
    assert states.states[0] is error
    end()
    eventually(lambda: not follow_threads(), "the end of the watch")


def test_a_companion_of_another_source_is_never_reported() -> None:
    states, other = States(), SourceRef("bob", SOURCE.name)
    store = Scripted(StoreUnavailable("away"), companion(token("at-1"), source=other))
    end = SecretWatches(store, TOKENS, pause=0.0).follow(SOURCE, POD, states.receive)
    error = states.until(lambda state: isinstance(state, InvalidSecret))
    assert "belongs to bob/" in str(error)
    end()
    eventually(lambda: not follow_threads(), "the end of the watch")
