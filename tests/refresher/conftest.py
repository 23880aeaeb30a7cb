from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csidriver.core.refresh.schedule import RequestTimeouts
from tests.issuer.policy import Policy
from tests.refresher.bench import LONG, Bench


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def build(policy: Policy = LONG, timeouts: RequestTimeouts | None = None) -> Bench:
        benches.append(Bench(tmp_path, policy))
        benches[-1].timeouts = timeouts or RequestTimeouts()
        benches[-1].start()
        return benches[-1]

    yield build
    for bench in benches:
        bench.close()
