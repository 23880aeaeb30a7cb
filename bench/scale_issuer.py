"""The strict authorization server as a process of its own, asked for its log over a pipe."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self, cast

from csidriver.core.sensitive import Sensitive
from csidriver.demo.issuer import DEMO_CLIENT
from tests.issuer.issuer import ScriptedIssuer
from tests.issuer.policy import Policy

# Seconds an access token lives: what CERN's server gives.
LIFETIME = 1199.0
# As long as what Keycloak signs with RS256.
ID_TOKEN = "i" * 1200


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """One presentation: when (epoch seconds), of which token (hash), and what became of it."""

    at: float
    rt: str
    outcome: str


class IssuerProcess:
    """A running server whose families start with the given refresh tokens."""

    def __init__(self, seeds: Iterable[Sensitive]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.scale_issuer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = str(self._ask([seed.reveal() for seed in seeds]))

    def log(self) -> list[PresentedToken]:
        """All presentations so far, oldest first."""
        return [PresentedToken(*row) for row in self._ask("log")]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def cpu(self) -> float:
        """Seconds of CPU it has taken."""
        return float(self._ask("cpu"))

    def _ask(self, what: object) -> Any:
        to, back = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        to.write(json.dumps(what) + "\n")
        to.flush()
        return json.loads(back.readline())


def _serve() -> None:
    policy = Policy(lifetime=LIFETIME, extra={"id_token": ID_TOKEN})
    server = ScriptedIssuer(clients=[DEMO_CLIENT], policy=policy)
    for seed in json.loads(sys.stdin.readline()):
        server.seed(DEMO_CLIENT.client_id, Sensitive(seed))
    with server:
        print(json.dumps(server.url), flush=True)
        for line in sys.stdin:
            if json.loads(line) == "cpu":
                print(json.dumps(time.process_time()), flush=True)
            else:
                rows = [
                    (row.presented_at, row.token_hash, row.outcome)
                    for row in server.presentations()
                ]
                print(json.dumps(rows), flush=True)


if __name__ == "__main__":
    _serve()
