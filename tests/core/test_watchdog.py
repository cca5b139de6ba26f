"""Silence by phase, losses that are no numbers, disks that fill up."""

import math

import pytest

from daemon.core.watchdog import Limits, bad_losses, hopeless, short_of_disk, silence
from schemas.enums import Phase

LIMITS = Limits(stall_s=600, stall_loading_s=7200, nan_steps=3, disk_min_free_mib=100)
NEVER = Limits(stall_s=0, stall_loading_s=0, nan_steps=0, disk_min_free_mib=0)


@pytest.mark.parametrize(
    ("phase", "silent_s", "stalled"),
    [
        (Phase.TRAINING, 599, False),
        (Phase.TRAINING, 600, True),
        (Phase.EVALUATING, 600, True),
        (Phase.SAVING, 600, True),
        (Phase.LOADING, 7199, False),
        (Phase.PREPROCESSING, 7200, True),
    ],
)
def test_how_long_silence_is_all_right_depends_on_the_phase(phase: Phase, silent_s: float, stalled: bool) -> None:
    said = silence(silent_s, phase, 7, LIMITS)
    assert (said is not None) is stalled
    assert said is None or ("step 7" in said and phase in said)
    assert silence(10**9, phase, 7, NEVER) is None


def test_bad_losses_count_in_a_row_and_a_record_without_a_loss_says_nothing() -> None:
    count = 0
    for loss, expected in ((math.nan, 1), (None, 1), (math.inf, 2), (-math.inf, 3), (0.5, 0), (math.nan, 1)):
        count = bad_losses(count, loss)
        assert count == expected
    assert hopeless(2, 9, LIMITS) is None
    assert "3 logged steps in a row, up to step 9" in (hopeless(3, 9, LIMITS) or "")
    assert hopeless(1000, 9, NEVER) is None


def test_the_disk_is_short_for_the_next_checkpoint_or_at_all() -> None:
    assert short_of_disk(5000, 400, LIMITS) is None
    assert "next checkpoint needs about 6000 MiB" in (short_of_disk(5000, 6000, LIMITS) or "")
    assert "99 MiB are free" in (short_of_disk(99, 0, LIMITS) or "")
    assert short_of_disk(0, 6000, NEVER) is None
