"""Callers whose token is refused, each over a new TLS connection, so many a second.

`python -m bench.refused_callers TARGET AUTHORITY RATE`; each line on standard input is answered
with the number of callers so far that were refused.
"""

import asyncio
import sys
from pathlib import Path

import grpc

from bench.simulated_nodes import channel, subscribe


async def _main(target: str, authority: bytes, rate: str) -> None:
    credentials = grpc.ssl_channel_credentials(authority)
    loop, refused, calls = asyncio.get_running_loop(), [0], set()

    async def call() -> None:
        async with channel(target, credentials) as connection:
            code = await subscribe(connection, "of-nobody").code()
            refused[0] += code is grpc.StatusCode.UNAUTHENTICATED

    async def call_on() -> None:
        began, made = loop.time(), 0
        while True:
            made += 1
            task = asyncio.ensure_future(call())
            calls.add(task)
            task.add_done_callback(calls.discard)
            await asyncio.sleep(began + made / float(rate) - loop.time())

    calling = asyncio.ensure_future(call_on())
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(refused[0], flush=True)
    calling.cancel()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2]).read_bytes(), sys.argv[3]))
