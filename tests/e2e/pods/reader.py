"""Runs in a pod, with the project's image: reads a token file in a loop and checks each read.

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
    path, key, seconds_after_sigterm = sys.argv[1], bytes.fromhex(sys.argv[2]), float(sys.argv[3])
    end = float("inf")

    def terminate(_number: int, _frame: FrameType | None) -> None:
        nonlocal end
        end = min(end, time.monotonic() + seconds_after_sigterm)
        print(json.dumps({"terminating": time.time()}), flush=True)

    signal.signal(signal.SIGTERM, terminate)
    os.nice(10)
    reader = Reader(path, key, "", "")
    next_report = 0.0
    while time.monotonic() < end:
        for chunk in (65536, 512):
            reader.read(chunk=chunk)
        # A thousand reads per second are enough, and leave processor time to others.
        time.sleep(0.002)
        if time.monotonic() >= next_report:
            next_report = time.monotonic() + 1
            print(json.dumps(asdict(reader.tally)), flush=True)
    print(json.dumps(asdict(reader.tally)), flush=True)


main()
