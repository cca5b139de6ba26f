"""The daemon of the end-to-end tests, for the examples."""

from tests.e2e.conftest import data, make_model, make_settings, standin_settings, work

__all__ = ["data", "make_model", "make_settings", "standin_settings", "work"]
