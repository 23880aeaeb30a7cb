"""The broker role: its certificates, its companions and its server, from start to shutdown."""

import asyncio
import threading

from csidriver.broker.companions import Companions
from csidriver.broker.stream_server import ServingCertificates, StreamServer

# Seconds between two looks for what the server waits for.
_POLL = 0.2


class Broker:
    """Serves once it has a certificate and knows all companions."""

    def __init__(
        self, certificates: ServingCertificates, companions: Companions, server: StreamServer
    ) -> None:
        self._certificates = certificates
        self._companions = companions
        self._server = server

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`; raises what ended the server before."""
        asyncio.run(self._run(stop))

    def alive(self) -> list[str]:
        """Return the problems that a restart would solve: the process ends with its server."""
        return []

    def ready(self) -> list[str]:
        """Return why nodes should ask another broker.

        An outage of the API server is no reason: what is in memory is better than nothing.
        """
        listed = self._companions.listed.is_set()
        return self._certificates.problems() + (
            [] if listed else ["companions have not been listed yet"]
        )

    async def _run(self, stop: threading.Event) -> None:
        parts = (
            asyncio.to_thread(self._certificates.run, stop),
            asyncio.to_thread(self._companions.run, asyncio.get_running_loop(), stop),
            self._serve(stop),
        )
        tasks = [asyncio.ensure_future(part) for part in parts]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        stop.set()
        await asyncio.gather(*tasks)

    async def _serve(self, stop: threading.Event) -> None:
        while not self._companions.listed.is_set() or self._certificates.pair() is None:
            if stop.is_set():
                return
            await asyncio.sleep(_POLL)
        await self._server.serve(stop)
