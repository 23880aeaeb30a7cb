"""The broker with reviews and re-checks from its first second on, at their usual pace.

`python -m bench.steady_broker broker ...` is `oauth2-csi broker ...`. Streams that began together
would have their first review 8 minutes later; here each pause is random, with the usual mean, so
that a minute after the start is as any later minute. Nothing else of the broker differs.

With `compile` it ends when all is imported.
"""

import random
import sys
from typing import Any

import csidriver.adapters.kubernetes
import csidriver.webhook.certificate_files
from csidriver import cli
from csidriver.broker import node_stream, stream_server


class SteadyLimits:
    """The usual limits, but for the two pauses."""

    def __init__(self) -> None:
        self._usual = node_stream.StreamLimits()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._usual, name)
        paused = name in {"review_every", "recheck_every"}
        return random.expovariate(1 / value) if paused else value


def main() -> int:
    if sys.argv[1] == "compile":
        print(csidriver.adapters.kubernetes.__doc__, csidriver.webhook.certificate_files.__doc__)
        return 0
    stream_server.StreamLimits = SteadyLimits  # type: ignore[assignment,attr-defined]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
