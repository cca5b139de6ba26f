"""The daemon under a seeded scheduler of faults: 1,000 seeds, each with a storm of its own, and every invariant holds.

`make sim` plays other seeds, any number. What is broken is printed with the command that repeats it, and its trace.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.simulation.campaign import Block, cores, play, workers

REPO = Path(__file__).resolve().parents[2]
CHUNKS = 20
SEEDS_A_CHUNK = 50


@pytest.fixture(scope="module")
def blocks(request: pytest.FixtureRequest) -> Iterator[dict[int, "Future[Block]"]]:
    """The chunks that this run of the suite asks for, played side by side."""
    names = {item.name for item in request.session.items if item.path == request.path}
    chosen = [chunk for chunk in range(CHUNKS) if any(name.endswith(f"[{chunk}]") for name in names)]
    with workers(min(cores(), len(chosen))) as pool:
        yield {chunk: pool.submit(play, range(chunk * SEEDS_A_CHUNK, (chunk + 1) * SEEDS_A_CHUNK)) for chunk in chosen}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_is_lost_and_nothing_left_behind(blocks: dict[int, "Future[Block]"], chunk: int) -> None:
    block = blocks[chunk].result()
    assert len(block.seeds) == SEEDS_A_CHUNK
    if block.broken:
        others = "".join(f"\n\nand {outcome.summary}" for outcome in block.broken[1:])
        pytest.fail(block.broken[0].report + others, pytrace=False)


@pytest.mark.parametrize("seed", [1001, 1017])
def test_the_same_seed_does_the_same_wherever_it_is_played(seed: int) -> None:
    trace = play_alone(seed, hash_seed="1")
    assert "all invariants held" in trace
    assert trace == play_alone(seed, hash_seed="2")
    assert trace != play_alone(seed + 1, hash_seed="1")


def play_alone(seed: int, hash_seed: str) -> str:
    """The trace of a seed that was played in a process of its own, with hashes of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--verbose"],
        cwd=REPO,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout
