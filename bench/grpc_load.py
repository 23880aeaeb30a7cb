"""Keeps a plugin busy: publishes, republishes and unpublishes volumes without end.

Run with kubelet's folder of pods, the plugin's socket and the name of a source.
"""

import itertools
import sys
import time
from pathlib import Path

from bench.calls import Caller
from bench.companions import NAMESPACE
from bench.pods import known_uids
from csidriver.core.names import SourceRef

# Volumes of its own, whose pods exist, and the seconds between two calls.
NUMBERS = range(2000, 2020)
_PAUSE = 0.002


def main() -> None:
    """Call until killed."""
    _, pods, socket, source = sys.argv
    caller, ref = Caller(Path(pods), Path(socket), known_uids()), SourceRef(NAMESPACE, source)
    for number in itertools.cycle(NUMBERS):
        request = caller.publish_request(number, ref)
        for method, message in (
            ("NodePublishVolume", request),
            ("NodePublishVolume", request),
            ("NodeUnpublishVolume", caller.unpublish_request(number)),
        ):
            caller.call(method, message)
            time.sleep(_PAUSE)


if __name__ == "__main__":
    main()
