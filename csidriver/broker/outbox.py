"""The updates that wait to be sent on one stream: the newest of each subscription."""

import asyncio


class Outbox:
    """Holds one payload per subscription at most, in the order in which they began to wait.

    For one event loop. A peer that reads slowly gets fewer states, each of them the newest.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, bytes] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, subscription: int, payload: bytes) -> None:
        self._waiting[subscription] = payload
        self._filled.set()

    def discard(self, subscription: int) -> None:
        self._waiting.pop(subscription, None)

    async def take(self) -> tuple[int, bytes]:
        """Return the next subscription with its payload; wait for one. For one reader."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        subscription = next(iter(self._waiting))
        return subscription, self._waiting.pop(subscription)
