"""`python -m tests.simulator SEEDS`: many runs on two processes, and one with many tokens."""

import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from tests.simulator.event_loop import START
from tests.simulator.many_tokens import serve_all
from tests.simulator.simulation import RunResult, simulate

# The end of a trace is enough for a reader.
TRACE_LINES = 150


def run_quietly(seed: int) -> RunResult:
    logging.disable()
    result = simulate(seed)
    trace = result.trace if result.violations else ()
    return replace(result, trace=trace)


def main(seeds: int, first: int = 0) -> int:
    began = time.monotonic()
    with ProcessPoolExecutor(2) as pool:
        many_tokens = pool.submit(serve_all)
        results = list(pool.map(run_quietly, range(first, first + seeds), chunksize=4))
        sent, violations = many_tokens.result()
    failing = [result for result in results if result.violations]
    lines = [f"herd: {text}" for text in violations]
    for result in failing:
        parameters, text = result.parameters, "; ".join(result.violations)
        lines.append(f"seed {parameters.seed} ({parameters.scenario}): {text}")
    for shortest in sorted(failing, key=lambda result: len(result.trace))[:1]:
        lines.append(f"seed {shortest.parameters.seed}: {shortest.parameters}")
        for at, actor, text in shortest.trace[-TRACE_LINES:]:
            lines.append(f"  {at - START:10.3f} {actor:>9} {text}")
    refreshes = sent + sum(result.refreshes for result in results)
    broken = len(violations) + sum(len(result.violations) for result in failing)
    lines.append(f"seeds {first} to {first + seeds - 1}, {time.monotonic() - began:.0f} s")
    lines.append(f"{seeds + 1} runs, {refreshes} refreshes, {broken} violations")
    sys.stdout.write("\n".join([*lines, ""]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
