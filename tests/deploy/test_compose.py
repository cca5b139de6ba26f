"""`compose.yaml`: docker accepts it, what it mounts is there, and the daemon has the time that its code asks for."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon import app
from daemon.settings import PREFIX, Settings
from deploy import env_example

FOLDER = Path(env_example.__file__).parent
Services = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def services() -> Services:
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]


def test_docker_accepts_it(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no docker client with the compose plugin")
    home = tmp_path / "deploy"
    shutil.copytree(FOLDER, home, ignore=shutil.ignore_patterns(".env", "secrets", "data"))
    shutil.copy(FOLDER / "compose.env.example", home / ".env")
    shutil.copy(FOLDER / "swift-trainer.env.example", home / "swift-trainer.env")
    argv = [docker, "compose", "--profile", "tools", "config", "--format", "json"]
    done = subprocess.run(argv, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == {"rabbitmq", "mongodb", "daemon", "cli"}


def test_what_it_mounts_is_there(services: Services) -> None:
    mounts: list[Any] = [mount for service in services.values() for mount in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if isinstance(mount, str) and mount.startswith("./")]
    assert len(files) == 2
    for source in files:
        assert (FOLDER / source).is_file(), source


def test_every_variable_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", (FOLDER / "compose.yaml").read_text()))
    offered = set(re.findall(r"(?m)^#?([A-Z_]+)=", (FOLDER / "compose.env.example").read_text()))
    clients = {f"RABBITMQ_{role}_PASSWORD" for role in ("PUBLISHER", "SUBSCRIBER", "NOTIFIER")}
    assert offered == used | clients | {"HF_TOKEN"}  # for definitions, passed on


def test_images_are_pinned_and_services_are_watched(services: Services) -> None:
    for name in ("rabbitmq", "mongodb"):
        assert re.search(r":\d+\.\d+", services[name]["image"])
    for name in ("rabbitmq", "mongodb", "daemon"):
        assert services[name]["healthcheck"]["test"]
        assert services[name]["restart"] == "unless-stopped"
    assert set(services["daemon"]["depends_on"]) == {"rabbitmq", "mongodb"}
    assert all(on == {"condition": "service_healthy"} for on in services["daemon"]["depends_on"].values())


def test_the_daemon_gets_all_gpus(services: Services) -> None:
    [gpus] = services["daemon"]["deploy"]["resources"]["reservations"]["devices"]
    assert gpus["driver"] == "nvidia"
    assert {"gpu", "compute", "utility"} <= set(gpus["capabilities"]), "CUDA and NVML"


def test_settings_are_settings_and_no_secret_reaches_a_training(services: Services) -> None:
    given = services["daemon"]["environment"]
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    ours = {name for name in given if name.startswith(PREFIX)}
    assert ours <= known
    for name in set(given) - ours:  # a training inherits these
        assert "PASSWORD" not in f"{name}={given[name]}"


def test_the_time_to_stop_is_above_the_daemons_own_budgets(services: Services) -> None:
    """With its trainings, which end with their container in any case."""
    given = services["daemon"]["environment"]
    assert given["SWIFT_TRAINER_ON_EXIT"] == "stop"
    budgets_s = app.INTAKE_BUDGET_S + app.OUTBOX_BUDGET_S + app.NODE_BUDGET_S + app.CLOSE_BUDGET_S
    trainings_s = float(given["SWIFT_TRAINER_STOP_GRACE_SECONDS"]) + app.STOP_MARGIN_S
    assert float(services["daemon"]["stop_grace_period"].removesuffix("s")) >= budgets_s + trainings_s + 10
