"""Asking a daemon's HTTP endpoint, and what its metrics say."""

import asyncio

import httpx
from prometheus_client.parser import text_string_to_metric_families

READINGS_KEPT_S = 3.0
"""As `daemon/loops/readings.py` has it; a test waits for a value, and so for the next reading."""


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    @property
    def names(self) -> set[str]:
        """The names that a query can use, also of families that have no series yet."""
        names = {sample.name for sample in self.samples}
        for family in self.families.values():
            endings = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",)}.get(family.type, ("",))
            names |= {family.name + ending for ending in endings}
        return names

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the series that have these labels; 0 where there is none."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def labels(self, name: str, label: str) -> set[str]:
        """The values of a label of a metric's series."""
        return {sample.labels[label] for sample in self.samples if sample.name == name}


async def get(port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        found = await client.get(f"http://127.0.0.1:{port}{path}")
    return found.status_code, found.text


async def scrape(port: int) -> Scrape:
    """The metrics as they are."""
    status, text = await get(port, "/metrics")
    assert status == 200, text
    return Scrape(text)


async def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        await get(port, "/healthz")
    except httpx.TransportError:
        await asyncio.sleep(0.05)
        return False
    return True
