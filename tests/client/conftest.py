"""The places and services of the fault tests: a client is tried where the broker goes away."""

from tests.faults.conftest import found, own_services, pair, place

__all__ = ["found", "own_services", "pair", "place"]
