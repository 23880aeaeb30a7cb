"""How long a new login in a Secret waits until it is adopted and refreshed."""

import json
import time
from collections.abc import Iterator, Sequence

from bench.rows import Row
from bench.scale_fill import Aged
from bench.scale_issuer import IssuerProcess
from csidriver.core.names import SourceRef
from csidriver.core.sensitive import Sensitive
from csidriver.errors import DriverError
from tests.cluster.controlplane import ControlPlane
from tests.refresher.bench import manifest

RESEEDS = 5
TIMEOUT = 30.0  # seconds


def reseeded(
    plane: ControlPlane, issuer: IssuerProcess, aged: Sequence[Aged], fresh: Sequence[Sensitive]
) -> Iterator[Row]:
    """`kubectl apply` of one new login after the other; from its start to the exchange."""
    latest = sorted(aged, key=lambda token: token.due)[-len(fresh) :]
    took = [
        _adopted(plane, issuer, token.ref, seed) for token, seed in zip(latest, fresh, strict=True)
    ]
    yield Row("reseed_adopted_s", max(took), (min(took), max(took)))


def _adopted(plane: ControlPlane, issuer: IssuerProcess, ref: SourceRef, seed: Sensitive) -> float:
    began = time.time()
    text = json.dumps(manifest(ref.name, seed.reveal()))
    plane.kubectl("apply", "--filename=-", f"--namespace={ref.namespace}", stdin=text)
    while time.time() < began + TIMEOUT:
        for row in reversed(issuer.log()):
            if row.rt == seed.hash() and row.outcome == "rotated":
                return row.at - began
        time.sleep(0.1)
    raise DriverError(f"a new login was not adopted within {TIMEOUT:.0f} s")
