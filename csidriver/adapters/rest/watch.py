"""One Secret, followed: list, then watch from there, for as long as anybody wants to know.

A watch that ends as agreed, or says nothing for long, goes on where it was; a version the server no
longer knows (410) leads to a new list. Nothing is told twice.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from random import Random
from typing import Any

from csidriver.adapters.rest.api import LARGEST, Api, Call, parsed, section
from csidriver.adapters.rest.line import Line
from csidriver.core.kubernetes.secret import Secret
from csidriver.errors import StoreUnavailable

# A watch that ends within a second (as client-go has it) and told nothing is the server's trouble,
# unless it happens now and then.
_HASTE = 1.0
_HASTY_WATCHES = 3
# Versions are opaque, but never empty: before the first look, and when there is no such Secret.
_UNKNOWN, _ABSENT = None, ""


@dataclass(frozen=True, slots=True)
class Chance:
    """What a watch takes from the machine."""

    monotonic: Callable[[], float]
    random: Random


class SecretWatch:
    """Where one watch stands: `_version` of the collection ("": list), `_enqueue` of the Secret."""

    def __init__(self, api: Api, line: Line, where: tuple[str, str], chance: Chance) -> None:
        self._api = api
        self._line = line
        self._namespace, self._name = where
        self._chance = chance
        self._version = ""
        self._told: str | None = _UNKNOWN
        self._lively = False

    def run(self, stop: threading.Event) -> Iterator[Secret | None]:
        """The Secret as it is and as it becomes; raises StoreError."""
        hasty = 0
        while not stop.is_set():
            if not self._version:
                secret = self._list()
                if self._is_news(secret):
                    yield secret
            began, self._lively = self._chance.monotonic(), False
            for secret in self._watch():
                if stop.is_set():
                    return
                if self._is_news(secret):
                    yield secret
            lasted = self._chance.monotonic() - began
            hasty = 0 if self._lively or lasted >= _HASTE else hasty + 1
            if hasty >= _HASTY_WATCHES and not stop.is_set():
                raise StoreUnavailable(f"{self._call('watch')} ends at once, again and again")

    def _call(self, verb: str) -> Call:
        return Call(verb, "secrets", self._namespace, self._name)

    def _is_news(self, secret: Secret | None) -> bool:
        version = _ABSENT if secret is None else secret.resource_version
        news = version != self._told
        self._told = version
        return news

    def _list(self) -> Secret | None:
        call = self._call("list")
        with self._api.ask(self._line, call, call.target()) as response:
            if response.status != HTTPStatus.OK:
                raise StoreUnavailable(f"cannot {call}: the API server answered {response.status}")
            found = self._api.document(self._line, response)
        self._version = _version(found)
        items = found.get("items") or []
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise StoreUnavailable("a list of the API server has no proper items")
        secrets = [_secret(item) for item in items]
        return next((secret for secret in secrets if self._is_ours(secret)), None)

    def _watch(self) -> Iterator[Secret | None]:
        """One watch, from the version known; without one when it has expired."""
        call, timings = self._call("watch"), self._api.timings
        seconds = self._chance.random.randint(*timings.watch)
        target = call.target(
            watch="true",
            resourceVersion=self._version,
            allowWatchBookmarks="true",
            timeoutSeconds=str(seconds),
        )
        with self._api.ask(self._line, call, target) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                raise StoreUnavailable(f"cannot {call}: the API server answered 404")
            if response.status == HTTPStatus.GONE:
                self._version = ""
                return
            for line in lines(self._line.chunks(response, silence=timings.silence)):
                event = parsed(line)
                kind, content = event.get("type"), section(event, "object")
                if kind == "ERROR":
                    self._fail(call, content.get("code"))
                    return
                self._version, self._lively = _version(content), True
                if kind == "BOOKMARK":
                    continue
                secret = _secret(content)
                if self._is_ours(secret):
                    yield None if kind == "DELETED" else secret

    def _fail(self, call: Call, code: object) -> None:
        """What an ERROR event means: an expired version, or no more watch."""
        if code != HTTPStatus.GONE:
            told = f" {code}" if isinstance(code, int) else ""
            raise StoreUnavailable(f"cannot {call}: the API server reported error{told}")
        self._version = ""

    def _is_ours(self, secret: Secret) -> bool:
        return (secret.namespace, secret.name) == (self._namespace, self._name)


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a stream, without their ends; raises StoreUnavailable if one is too long."""
    rest = bytearray()
    for chunk in chunks:
        *ended, begun = chunk.split(b"\n")
        for end in ended:
            rest += end
            if rest.strip():
                yield bytes(rest)
            rest.clear()
        rest += begun
        if len(rest) > LARGEST:
            raise StoreUnavailable(f"an event of the API server has over {LARGEST} bytes")


def _version(document: Mapping[str, Any]) -> str:
    version = section(document, "metadata").get("resourceVersion")
    if not isinstance(version, str) or not version:
        raise StoreUnavailable("an answer of the API server has no resourceVersion")
    return version


def _secret(manifest: Mapping[str, Any]) -> Secret:
    secret = None
    try:
        secret = Secret.from_manifest(manifest)
    except (AttributeError, TypeError, ValueError):
        # The foreign error may hold a part of the manifest and goes no further.
        secret = None
    if secret is None or not secret.resource_version:
        raise StoreUnavailable("an answer of the API server holds no proper Secret")
    return secret
