import contextlib

import pytest

from csidriver.http_server.connections import ConnectionState
from csidriver.webhook.https_server import AdmissionLimits
from tests.waiting import until
from tests.webhook.served import GOOD, KIND, PATIENCE, Held, is_closed, serving


def test_when_all_places_are_taken_who_was_idle_longest_makes_room() -> None:
    with serving(AdmissionLimits(connections=3)) as served, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(served.client())) for _ in range(3)]
        for client in (clients[1], clients[0], clients[2]):
            assert client.post()[0] == 200
            # Idle from now on: an answer arrives a little earlier.
            until(lambda: served.states() == [ConnectionState.IDLE] * 3)
        assert stack.enter_context(contextlib.closing(served.client())).post()[0] == 200
        assert is_closed(clients[1].sock)
        assert clients[0].post()[0] == clients[2].post()[0] == 200


def test_who_is_being_answered_is_never_cut() -> None:
    held = Held()
    limits = AdmissionLimits(connections=1, max_wait=0.01)
    with serving(limits, held) as served, contextlib.closing(served.client()) as client:
        client.request("POST", "/mutate", GOOD, KIND)
        assert held.asked.acquire(timeout=PATIENCE)
        with served.connect() as waiting:
            waiting.settimeout(0.3)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
        held.go.set()
        assert client.told()[0] == 200
