"""The broker role: its certificates, its companions and its server, from start to shutdown."""

import asyncio
import threading

from csidriver.broker.companion_feed import CompanionFeed
from csidriver.broker.stream_server import ServingCertificates, StreamServer

# Seconds between two looks for what the server waits for.
_POLL = 0.2


class Broker:
    """Serves once it has a certificate and knows all companions."""

    def __init__(
        self, certificates: ServingCertificates, feed: CompanionFeed, server: StreamServer
    ) -> None:
        self._certificates = certificates
        self._feed = feed
        self._server = server
        self._failure: BaseException | None = None

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`; raises what ended the server before."""
        serving = threading.Thread(target=self._run_loop, args=(stop,), name="streams")
        serving.start()
        try:
            self._certificates.run(stop)
        finally:
            stop.set()
            serving.join()
        if self._failure is not None:
            raise self._failure

    def alive(self) -> list[str]:
        """Return the problems that a restart would solve: the process ends with its server."""
        return []

    def ready(self) -> list[str]:
        """Return why nodes should ask another broker.

        An outage of the API server is no reason: what is in memory is better than nothing.
        """
        listed = self._feed.listed.is_set()
        return self._certificates.problems() + (
            [] if listed else ["companions have not been listed yet"]
        )

    def _run_loop(self, stop: threading.Event) -> None:
        try:
            asyncio.run(self._serve(stop))
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            self._failure = error
        finally:
            stop.set()

    async def _serve(self, stop: threading.Event) -> None:
        loop, cache = asyncio.get_running_loop(), self._server.cache
        feed = threading.Thread(
            target=self._feed.run,
            args=(lambda *change: loop.call_soon_threadsafe(cache.put, *change), stop),
            name="companions",
        )
        feed.start()
        try:
            while not stop.is_set():
                if self._feed.listed.is_set() and self._certificates.pair() is not None:
                    await self._server.serve(stop)
                    return
                await asyncio.sleep(_POLL)
        finally:
            stop.set()
            # Before the loop ends, to which it reports.
            await loop.run_in_executor(None, feed.join)
