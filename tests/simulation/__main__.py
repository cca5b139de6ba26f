"""`make sim`: plays seeds of the simulation, as many as one likes, and prints what is broken.

    python -m tests.simulation [--seed S] [--seeds N | --minutes M] [--jobs J] [--verbose]

`--seed S` alone plays that one seed and prints its trace with `--verbose`; with `--seeds N` it is the first of N. The
same seed does the same, on every machine and with every hash seed. Ends with 1 where something is broken.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator

from tests.simulation.campaign import campaign, cores
from tests.simulation.simulation import Outcome, simulate

DEFAULT_SEEDS = 1000
MOST_SHOWN = 5
"""Broken seeds whose whole trace is printed; the others are named."""


def main() -> int:
    """Entry point."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seed", type=int, metavar="S", help="play this seed, or begin with it")
    arguments.add_argument("--seeds", type=int, metavar="N", help=f"how many seeds (else {DEFAULT_SEEDS})")
    arguments.add_argument("--minutes", type=float, metavar="M", help="play for so long, however many seeds that are")
    arguments.add_argument("--jobs", type=int, default=cores(), metavar="J", help="processes (else one a core)")
    arguments.add_argument("--verbose", action="store_true", help="print the trace of a single seed that is well")
    options = arguments.parse_args()
    if options.seed is not None and options.seeds is None and options.minutes is None:
        return _one(options.seed, verbose=options.verbose)
    first = options.seed or 0
    if options.minutes is None:
        count = DEFAULT_SEEDS if options.seeds is None else options.seeds
        return _many(iter(range(first, first + count)), options.jobs)
    return _many(_for_minutes(first, options.minutes), options.jobs)


def _one(seed: int, *, verbose: bool) -> int:
    outcome = simulate(seed)
    if outcome.broken:
        sys.stdout.write(f"{outcome.report}\n")
        return 1
    if verbose:
        sys.stdout.write("\n".join(outcome.trace) + "\n")
    sys.stdout.write(f"seed {seed}: all invariants held\n")
    return 0


def _for_minutes(first: int, minutes: float) -> Iterator[int]:
    end = time.monotonic() + 60 * minutes
    return itertools.takewhile(lambda _: time.monotonic() < end, itertools.count(first))


def _many(seeds: Iterator[int], jobs: int) -> int:
    began, played = time.monotonic(), 0
    broken: list[Outcome] = []
    try:
        for block in campaign(seeds, jobs):
            played += len(block.seeds)
            for outcome in block.broken:
                broken.append(outcome)
                shown = outcome.report if len(broken) <= MOST_SHOWN else outcome.summary
                sys.stdout.write(f"{shown}\n\n")
                sys.stdout.flush()
            sys.stderr.write(f"\r{played} seeds, {len(broken)} broken, {time.monotonic() - began:.0f} s ")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted")
    sys.stderr.write("\n")
    names = ", ".join(str(outcome.seed) for outcome in broken)
    sys.stdout.write(
        f"{played} seeds in {time.monotonic() - began:.0f} s: {f'broken: {names}' if names else 'all held'}\n"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
