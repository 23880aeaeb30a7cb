"""The ConfigMap with which users see the issuers: written by the leader, and restored."""

import logging
import threading
from collections.abc import Callable

from csidriver.core.names import PUBLIC_ISSUERS
from csidriver.core.oauth.public_issuers import ISSUERS_JSON, render_public_issuers
from csidriver.core.refresh.state import RefreshContext
from csidriver.errors import StoreError
from csidriver.refresher.ports import Ports

log = logging.getLogger(__name__)

# Seconds between two checks of the configuration, and between two reads of the ConfigMap.
CONFIG_POLL_SECONDS, READ_SECONDS = 2.0, 60.0


class IssuersPublisher:
    """Writes the ConfigMap after each change of the configuration, or of the ConfigMap itself."""

    def __init__(self, ports: Ports, context: Callable[[], RefreshContext]) -> None:
        self._store, self._clock = ports.store, ports.clock
        self._namespace = ports.deployment.namespace
        self._context = context
        self._problem = ""

    def run(self, stop: threading.Event) -> None:
        """Keep the ConfigMap up to date until `stop` is set."""
        published, read_at = None, 0.0
        while not stop.is_set():
            issuers, now = self._context().issuers, self._clock.monotonic()
            if issuers is not published or now >= read_at + READ_SECONDS:
                published, read_at = issuers, now
                self._publish(render_public_issuers(issuers))
            stop.wait(CONFIG_POLL_SECONDS)

    def _publish(self, text: str) -> None:
        try:
            data = self._store.get_config_map(self._namespace, PUBLIC_ISSUERS)
            if data != {ISSUERS_JSON: text}:
                patch = {**dict.fromkeys(data or ()), ISSUERS_JSON: text}
                self._store.patch_config_map(self._namespace, PUBLIC_ISSUERS, patch)
                log.info("users see the issuers in ConfigMap %s", PUBLIC_ISSUERS)
            self._problem = ""
        except StoreError as error:
            if str(error) != self._problem:
                log.warning("users do not see the issuers: %s", error)
            self._problem = str(error)
