"""`make bench`: measures the daemon, against a private RabbitMQ and mongod, and prints a table. It asserts nothing.

    python -m tests.benchmarks [--quick] [--only NAME]...

The daemon runs as a process; its trainings are a small shell script (`trainee.sh`), so the numbers are the daemon's,
the broker's and the store's. On a machine with few cores these share them with each other and with whoever else is
there: the load average is printed, and medians are to be believed more than tails. Groups, in order: {groups}.
"""

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence

from tests.benchmarks import cluster, devices, latency, load, pure, throughput
from tests.benchmarks.figures import Figure, table
from tests.benchmarks.room import Room, daemon, services

PURE: dict[str, Callable[[bool], list[Figure]]] = {
    "plan": pure.planning,
    "parser": pure.parser,
    "nvml": devices.reading,
    "cluster": cluster.cluster,
}
SLOTS = load.JOBS
SERVED: dict[str, Callable[[Room, bool], list[Figure]]] = {
    "idle": load.idle,
    "start": latency.start,
    "progress": latency.progress,
    "roundtrip": latency.round_trip,
    "throughput": throughput.throughput,
    "load": load.load,
}
"""Each with a daemon of its own, so that none inherits the other's memory and jobs."""


def main() -> None:
    """Entry point."""
    names = [*PURE, *SERVED]
    text = (__doc__ or "").format(groups=", ".join(names))
    arguments = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", action="append", choices=names, metavar="NAME", help="this group; may be repeated")
    arguments.add_argument("--quick", action="store_true", help="few samples: a look, no measurement")
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began, load_before = time.monotonic(), _load()
    try:
        figures = measure(options.only or names, quick=options.quick)
    except KeyboardInterrupt:
        sys.exit(130)
    quick = ", quick" if options.quick else ""
    sys.stdout.write(
        f"{table(figures)}\n\n"
        f"{os.cpu_count()} cores, Python {platform.python_version()}{quick}; load average {load_before} at the begin, "
        f"{_load()} at the end, {time.monotonic() - began:.0f} s later.\n"
        "p95 and worst are towards the worse: high for times, low for rates. `of aim` is p50 / aim.\n"
    )


def measure(names: Sequence[str], *, quick: bool) -> list[Figure]:
    """Run these groups, in their order."""
    figures: list[Figure] = []
    for name, group in PURE.items():
        if name in names:
            figures += _told(name, group(quick))
    served = [name for name in SERVED if name in names]
    if served:
        with services() as urls:
            for name in served:
                with daemon(urls, SLOTS) as room:
                    figures += _told(name, SERVED[name](room, quick))
    return figures


def _told(name: str, figures: list[Figure]) -> list[Figure]:
    sys.stderr.write(f"bench: {name} done (load average {_load()})\n")
    return figures


def _load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


if __name__ == "__main__":
    main()
