"""`python -m tests.simulator SEEDS`: many runs on two processes, and one herd."""

import logging
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulator.scenario import Result, simulate

# Most lines of a trace that are of use to a reader.
SHOWN = 150


def say(line: str) -> None:
    """One line on the terminal."""
    sys.stdout.write(line + "\n")


def attempt(seed: int) -> Result:
    """One run; a trace only where something is wrong."""
    logging.disable()
    result = simulate(seed)
    trace = result.trace if result.violations else ()
    return Result(result.plan, result.refreshes, result.violations, trace)


def tell(result: Result) -> None:
    """The end of a failing run's trace."""
    say(f"seed {result.plan.seed}: {result.plan}")
    for at, who, what in result.trace[-SHOWN:]:
        say(f"  {at - 1_800_000_000:10.3f} {who:>9} {what}")


def main(seeds: int, first: int = 0) -> int:
    """Run, and say how it went."""
    from tests.simulator.many_tokens import herd  # noqa: PLC0415 - after the arguments were looked at

    began = time.monotonic()
    with ProcessPoolExecutor(2) as pool:
        flock = pool.submit(herd)
        results = list(pool.map(attempt, range(first, first + seeds), chunksize=4))
        sent, violations = flock.result()
    failing = [result for result in results if result.violations]
    for text in violations:
        say(f"herd: {text}")
    for result in failing:
        say(f"seed {result.plan.seed} ({result.plan.kind}): {'; '.join(result.violations)}")
    if failing:
        tell(min(failing, key=lambda result: len(result.trace)))
    refreshes = sent + sum(result.refreshes for result in results)
    broken = len(violations) + sum(len(result.violations) for result in failing)
    say(f"seeds {first} to {first + seeds - 1}, {time.monotonic() - began:.0f} s")
    say(f"{seeds + 1} runs, {refreshes} refreshes, {broken} violations")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
