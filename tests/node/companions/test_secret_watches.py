"""What both sources of companions have in common is in tests/contract/test_companions.py."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.annotations import COMPANION_SECRET_TYPE
from csidriver.core.companion import Companion
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.names import SourceRef
from csidriver.errors import InvalidSecret, StoreUnavailable
from csidriver.node.companions.secret_watches import SecretWatches
from tests.node.companions.nodes import States
from tests.node.plugin import POD, SOURCE, TOKENS, companion, follow_threads, token
from tests.waiting import until


def write(root: Path, new: Companion) -> None:
    """Write a companion under the name for SOURCE."""
    kind, known, data = COMPANION_SECRET_TYPE, new.annotations(), new.data()
    secret = Secret(TOKENS, SOURCE.companion, type=kind, annotations=known, data=data)
    DirectoryStore(root).create_secret(secret)


@contextmanager
def followed(root: Path) -> Iterator[States]:
    states, watches = States(), SecretWatches(DirectoryStore(root, poll=0.005), TOKENS, pause=0.005)
    end = watches.follow(SOURCE, POD, states.receive)
    yield states
    end()
    until(lambda: not follow_threads(), "the end of the watch")


def test_a_store_in_trouble_is_an_error_and_asked_again(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.touch()
    with followed(root) as states:
        states.until(lambda state: isinstance(state, StoreUnavailable))
        root.unlink()
        write(root, companion(token("at-1")))
        states.generation(1)


def test_a_companion_of_another_source_is_never_reported(tmp_path: Path) -> None:
    write(tmp_path, companion(token("at-1"), source=SourceRef("bob", SOURCE.name)))
    with followed(tmp_path) as states:
        error = states.until(lambda state: isinstance(state, InvalidSecret))
    assert "belongs to bob/" in str(error)
