import asyncio

from csidriver.broker.outbox import Outbox


async def taken(outbox: Outbox, count: int) -> list[tuple[int, bytes]]:
    return [await outbox.take() for _ in range(count)]


def test_the_newest_state_of_each_subscription_waits() -> None:
    outbox = Outbox()
    for number, payload in ((1, b"a"), (2, b"b"), (1, b"c"), (3, b"d"), (1, b"e")):
        outbox.put(number, payload)
    assert asyncio.run(taken(outbox, 3)) == [(1, b"e"), (2, b"b"), (3, b"d")]


def test_nothing_is_sent_for_a_subscription_that_has_ended() -> None:
    outbox = Outbox()
    outbox.put(1, b"a")
    outbox.put(2, b"b")
    outbox.discard(1)
    outbox.discard(9)
    assert len(outbox) == 1
    assert asyncio.run(taken(outbox, 1)) == [(2, b"b")]


def test_a_reader_waits_for_the_next_state() -> None:
    outbox = Outbox()

    async def run() -> list[tuple[int, bytes]]:
        reader = asyncio.create_task(taken(outbox, 2))
        for number, payload in ((1, b"a"), (1, b"b")):
            await asyncio.sleep(0)
            outbox.put(number, payload)
            await asyncio.sleep(0)
        return await reader

    assert asyncio.run(run()) == [(1, b"a"), (1, b"b")]
