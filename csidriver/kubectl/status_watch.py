"""`kubectl oauth2-csi status --watch`: a row for each token, and one for each change."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from csidriver.core import annotations
from csidriver.core.names import SourceRef
from csidriver.errors import DriverError
from csidriver.kubectl.client import Kubectl
from csidriver.kubectl.tokens.overview import Overview, overviews
from csidriver.kubectl.tokens.pod_volumes import PodVolume, watch_pod_volumes
from csidriver.kubectl.tokens.records import DELETED
from csidriver.kubectl.tokens.token import Token, watch_tokens

# Seconds between two watches; the API server ends each after a while.
PAUSE = 1.0
_Event = tuple[str, Token | PodVolume]
_REMOVED = dict.fromkeys(
    (annotations.MESSAGE, annotations.EXPIRES_AT, annotations.NEXT_REFRESH, annotations.WARNING), ""
)


class RowPrinter(Protocol):
    """Prints tokens below each other."""

    def print_more(self, found: Sequence[Overview]) -> None: ...


class StatusWatch:
    """Prints tokens when they or their pods change, until interrupted."""

    def __init__(self, kubectl: Kubectl, printer: RowPrinter, where: str, name: str) -> None:
        self._kubectl = kubectl
        self._printer = printer
        self._where = where
        self._name = name
        self._tokens: dict[SourceRef, Token] = {}
        # By token, so that an event costs no look at the pods of all others.
        self._volumes: dict[SourceRef, dict[tuple[str, str], PodVolume]] | None = None
        self._printed: dict[SourceRef, Overview] = {}
        self._events: queue.Queue[_Event | DriverError] = queue.Queue()

    def run(self, tokens: Iterable[Token], volumes: Iterable[PodVolume] | None) -> None:
        """Print what there is, then changes; `volumes` is None if pods may not be listed."""
        self._tokens = {token.ref: token for token in tokens}
        if volumes is not None:
            self._volumes = {}
            for volume in volumes:
                self._volumes.setdefault(volume.token, {})[volume.pod, volume.volume] = volume
            self._start(lambda: watch_pod_volumes(self._kubectl, self._where))
        self._start(lambda: watch_tokens(self._kubectl, self._where, name=self._name))
        self._print(self._tokens)
        while True:
            event = self._events.get()
            if isinstance(event, DriverError):
                raise event
            self._print([self.apply(*event)])

    def apply(self, kind: str, item: Token | PodVolume) -> SourceRef:
        """Take over an event; return the token that it may have changed."""
        if isinstance(item, PodVolume):
            if self._volumes is not None:
                mine = self._volumes.setdefault(item.token, {})
                mine.pop((item.pod, item.volume), None)
                if kind != DELETED:
                    mine[item.pod, item.volume] = item
            return item.token
        if kind != DELETED and item.is_annotated:
            self._tokens[item.ref] = item
        elif item.ref in self._tokens:
            values = {**item.values, **_REMOVED, annotations.STATUS: "Deleted"}
            self._tokens[item.ref] = replace(item, values=values)
        return item.ref

    def _print(self, refs: Iterable[SourceRef]) -> None:
        tokens = [self._tokens[ref] for ref in refs if ref in self._tokens]
        volumes: list[PodVolume] | None = None
        if self._volumes is not None:
            found = (self._volumes.get(token.ref, {}) for token in tokens)
            volumes = [volume for mine in found for volume in mine.values()]
        changed = [o for o in overviews(tokens, volumes) if self._printed.get(o.token.ref) != o]
        self._printed |= {overview.token.ref: overview for overview in changed}
        if changed:
            self._printer.print_more(changed)

    def _start(self, watch: Callable[[], Iterator[_Event]]) -> None:
        threading.Thread(target=self._collect, args=(watch,), daemon=True).start()

    def _collect(self, watch: Callable[[], Iterator[_Event]]) -> None:
        pause = threading.Event()
        try:
            while True:
                for event in watch():
                    self._events.put(event)
                pause.wait(PAUSE)
        except DriverError as error:
            self._events.put(error)
