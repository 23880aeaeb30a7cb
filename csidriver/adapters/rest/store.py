"""What the node role reads of Kubernetes."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from csidriver.adapters.rest.api import Api, Call, Timings, section
from csidriver.adapters.rest.closer import Closer
from csidriver.adapters.rest.credentials import Credentials
from csidriver.adapters.rest.identity import Identity
from csidriver.adapters.rest.watch import Chance, SecretWatch
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.kubernetes.validation import is_dns1123_label, is_dns1123_subdomain
from csidriver.errors import StoreError, StoreRefused, StoreUnavailable


class RestStore:
    """Secrets and ConfigMaps of one cluster, read only. Each operation has its own connection.

    Errors leave without the frames they come from: variables there hold tokens and bodies, and a
    caller may keep an error for long.
    """

    def __init__(
        self,
        credentials: Credentials,
        timings: Timings | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        timings = timings or Timings()
        identity = Identity(credentials, monotonic, timings.token)
        self._api = Api(credentials.server, identity, timings)
        self._closer = Closer(timings.poll)
        self._chance = Chance(monotonic, chance or random.SystemRandom())

    def get_config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The `data` of a ConfigMap, None if there is none; raises StoreError."""
        call = _call("get", "configmaps", namespace, name)
        try:
            data = self._section(call, "data")
        except StoreError as error:
            raise error.with_traceback(None) from None
        return None if data is None else {key: str(value) for key, value in data.items()}

    def get_namespace_uid(self, namespace: str) -> str:
        """The uid of a namespace, "" if there is none; raises StoreError."""
        call = _call("get", "namespaces", namespace, namespace)
        try:
            return str((self._section(call, "metadata") or {}).get("uid", ""))
        except StoreError as error:
            raise error.with_traceback(None) from None

    def watch_secret(
        self, namespace: str, name: str, stop: threading.Event
    ) -> Iterator[Secret | None]:
        """The Secret as it is (None if absent), then as it becomes, until `stop`.

        Raises StoreError; a new call then starts from a new look.
        """
        _call("watch", "secrets", namespace, name)
        with self._api.line() as line, self._closer.minding(line, stop):
            watch = SecretWatch(self._api, line, (namespace, name), self._chance)
            try:
                yield from watch.run(stop)
            except StoreError as error:
                # A line that was cut fails in whatever it was doing.
                if not stop.is_set():
                    raise error.with_traceback(None) from None

    def _section(self, call: Call, key: str) -> dict[str, Any] | None:
        with self._api.line() as line, self._api.ask(line, call, call.target()) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return None
            if response.status == HTTPStatus.GONE:
                raise StoreUnavailable(f"cannot {call}: the API server answered 410")
            return section(self._api.document(line, response), key)


def _call(verb: str, resource: str, namespace: str, name: str) -> Call:
    """A request for an object that may exist; its names are safe in a URL and a selector."""
    call = Call(verb, resource, namespace, name)
    if not is_dns1123_label(namespace) or not is_dns1123_subdomain(name):
        raise StoreRefused(f"cannot {call}: no object has such a name")
    return call
