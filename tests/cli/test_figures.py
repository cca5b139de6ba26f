"""Numbers as a person reads them."""

import pytest

from daemon.cli.figures import duration_text, gpu_short, gpu_texts, rate_text, sparkline
from schemas.events import GpuUse


@pytest.mark.parametrize(
    ("values", "width", "ascii_only", "line"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, False, "▁▂▃▄▅▆▇█"),
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, True, "_.-=+*#@"),
        ([0, 0, 7, 7], 2, False, "▁█"),
        ([5, 5, 5], 9, False, "▁▁▁"),
        ([float("nan"), 1, float("inf"), 2], 9, False, "▁█"),
        ([], 5, False, ""),
        ([1, 2], 0, False, ""),
    ],
)
def test_a_curve_in_one_line(values: list[float], width: int, ascii_only: bool, line: str) -> None:
    assert sparkline(values, width, ascii_only=ascii_only) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""), (float("nan"), ""), (-1, ""), (0.4, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (245, "4m 05s"),
        (7800, "2h 10m"), (273_600, "3d 4h"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("rate", "text"), [(None, ""), (0, ""), (0.2414, "0.241 s/step"), (17.6, "17.6 s/step")])
def test_rates(rate: float | None, text: str) -> None:
    assert rate_text(rate) == text


def test_gpus_by_name_or_of_many_their_mean() -> None:
    one = GpuUse(index=3, utilization=97, memory_used_mib=36_218, memory_total_mib=81_559)
    assert gpu_texts([one, GpuUse(index=4)]) == ["GPU 3 97% 35/80 GiB", "GPU 4"]
    assert gpu_short([one, GpuUse(index=4)]) == "97% -"
    many = [GpuUse(index=number, utilization=10 * number) for number in range(5)]
    assert gpu_texts(many) == ["5 GPUs 20%"]
    assert gpu_short(many) == "5x 20%"
    assert (gpu_texts([]), gpu_short([])) == ([], "")
