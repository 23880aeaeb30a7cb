"""Runs in a pod, with the project's image: reads a token file again and again and judges it.

Arguments: the path, the issuer's key in hex, seconds to go on after SIGTERM. Prints a tally, one
JSON object a line, every second and at the end.
"""

import json
import os
import signal
import sys
import time
from dataclasses import asdict
from types import FrameType

from csidriver.demo.reader import Reader


def main() -> None:
    path, key, linger = sys.argv[1], bytes.fromhex(sys.argv[2]), float(sys.argv[3])
    end = float("inf")

    def terminate(_number: int, _frame: FrameType | None) -> None:
        nonlocal end
        end = min(end, time.monotonic() + linger)
        print(json.dumps({"terminating": time.time()}), flush=True)

    signal.signal(signal.SIGTERM, terminate)
    os.nice(10)
    reader = Reader(path, key, "", "")
    due = 0.0
    while time.monotonic() < end:
        for chunk in (65536, 512):
            reader.read(chunk=chunk)
        # Leaves the two cores of a test machine to others; a thousand reads a second are enough.
        time.sleep(0.002)
        if time.monotonic() >= due:
            due = time.monotonic() + 1
            print(json.dumps(asdict(reader.tally)), flush=True)
    print(json.dumps(asdict(reader.tally)), flush=True)


main()
