"""Many seeds, on all cores: each worker plays blocks of seeds and hands back the broken ones."""

import multiprocessing
import os
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from tests.simulation.simulation import Outcome, simulate

BLOCK = 20


@dataclass(frozen=True, slots=True)
class Block:
    """Seeds that were played, and those of them that are broken."""

    seeds: tuple[int, ...]
    broken: tuple[Outcome, ...]


def play(seeds: Iterable[int]) -> Block:
    """Play these seeds."""
    chosen = tuple(seeds)
    return Block(chosen, tuple(outcome for seed in chosen if (outcome := simulate(seed)).broken))


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def workers(jobs: int) -> Generator[ProcessPoolExecutor]:
    """A pool whose workers have inherited nothing from this process."""
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def campaign(seeds: Iterator[int], jobs: int) -> Iterator[Block]:
    """Play seeds for as long as they come, as they are done."""
    with workers(jobs) as pool:
        under_way: set[Future[Block]] = set()
        while True:
            while len(under_way) < 2 * jobs and (block := tuple(islice(seeds, BLOCK))):
                under_way.add(pool.submit(play, block))
            if not under_way:
                return
            done = next(as_completed(under_way))
            under_way.discard(done)
            yield done.result()
