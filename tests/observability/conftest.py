"""A daemon of the test's own with an HTTP port, on GPUs of the stand-in for NVML, and a receiver of its traces."""

import socket
from collections.abc import Callable

import pytest

from tests.e2e.conftest import MakeModel, MakeSettings, Settings, data, make_model, make_settings, work
from tests.nvml.conftest import apart, library
from tests.nvml.standin import Driver

__all__ = ["apart", "data", "library", "make_model", "make_settings", "work"]

MakeRequest = Callable[..., dict[str, object]]


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def settings(make_settings: MakeSettings, standin_command: str, port: int) -> Settings:
    """A daemon with CPU slots that is watched over HTTP."""
    return make_settings(standin_command, swift_version="4.6.0", http_port=port, gpu_interval_seconds=0.5)


@pytest.fixture
def gpu_settings(settings: Settings, apart: Driver) -> Settings:
    """The same on eight GPUs."""
    return {**settings, "SWIFT_TRAINER_DEVICES": "auto", **apart.environment}


@pytest.fixture
def make_request(make_model: MakeModel, data: str) -> MakeRequest:
    """Makes a request for a model that the stand-in trains as it is told."""

    def make(name: str = "model", steering: dict[str, object] | None = None, **more: object) -> dict[str, object]:
        return {
            "training_type": "llm",
            "model_path": make_model(name, **(steering or {})),
            "datasets": [data],
            "output_dir": f"out/{name}",
            "logging_steps": 1,
            "dataloader_num_workers": 1,
            "auto_export": False,
            "start": True,
            **more,
        }

    return make
