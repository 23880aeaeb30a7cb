"""`python -m tests.simulator SEEDS`: many runs on two processes, and one with many tokens."""

import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from tests.simulator.event_loop import START
from tests.simulator.many_tokens import serve_all
from tests.simulator.simulation import RunResult, simulate

# The end of a trace is enough for a reader.
TRACE_LINES = 150


def print_line(line: str) -> None:
    sys.stdout.write(line + "\n")


def run_quietly(seed: int) -> RunResult:
    logging.disable()
    result = simulate(seed)
    trace = result.trace if result.violations else ()
    return replace(result, trace=trace)


def print_trace(trace: Sequence[tuple[float, str, str]]) -> None:
    for at, actor, text in trace[-TRACE_LINES:]:
        print_line(f"  {at - START:10.3f} {actor:>9} {text}")


def main(seeds: int, first: int = 0) -> int:
    began = time.monotonic()
    with ProcessPoolExecutor(2) as pool:
        many_tokens = pool.submit(serve_all)
        results = list(pool.map(run_quietly, range(first, first + seeds), chunksize=4))
        sent, violations = many_tokens.result()
    failing = [result for result in results if result.violations]
    for text in violations:
        print_line(f"herd: {text}")
    for result in failing:
        parameters, text = result.parameters, "; ".join(result.violations)
        print_line(f"seed {parameters.seed} ({parameters.scenario}): {text}")
    if failing:
        shortest = min(failing, key=lambda result: len(result.trace))
        print_line(f"seed {shortest.parameters.seed}: {shortest.parameters}")
        print_trace(shortest.trace)
    refreshes = sent + sum(result.refreshes for result in results)
    broken = len(violations) + sum(len(result.violations) for result in failing)
    print_line(f"seeds {first} to {first + seeds - 1}, {time.monotonic() - began:.0f} s")
    print_line(f"{seeds + 1} runs, {refreshes} refreshes, {broken} violations")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
