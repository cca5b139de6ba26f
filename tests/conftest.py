"""What every ring of the suite shares: the order of the rings, and the real services, started once a run.

The pure tests come first and tell in seconds what is broken; then those with a real RabbitMQ and a real `mongod`; then
those with the real ms-swift. `deploy/` has the scripts that set the real parts up; they do nothing twice.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# the machines are shared: how long an example takes says nothing of the code
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

REPO = Path(__file__).resolve().parents[1]
RINGS = ("services", "swift")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast rings first."""
    items.sort(key=_ring)


def _ring(item: pytest.Item) -> int:
    return max((number for number, name in enumerate(RINGS, 1) if item.get_closest_marker(name)), default=0)


def _script(*argv: str, timeout_s: float) -> str:
    """Run a set-up script; its standard output. What went wrong is in the failure's text."""
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode != 0:
        pytest.exit(f"{' '.join(argv)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}", returncode=3)
    return done.stdout


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real RabbitMQ and a real mongod of this run's own (or the ones that the environment names)."""
    script = (sys.executable, "deploy/services.py")  # this environment has pip to fetch mongod with, a system's may not
    folder = str(tmp_path_factory.mktemp("services"))
    _script(*script, "up", "--dir", folder, timeout_s=300)
    try:
        lines = _script(*script, "env", "--dir", folder, timeout_s=30).splitlines()
        yield dict(line.split("=", 1) for line in lines if "=" in line)
    finally:
        _script(*script, "down", "--dir", folder, timeout_s=120)


@pytest.fixture(scope="session")
def services_dir(services: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the services, for `deploy/services.py`."""
    return next(tmp_path_factory.getbasetemp().glob("services*"))


@pytest.fixture(scope="session")
def amqp_url(services: dict[str, str]) -> str:
    """URL of the real RabbitMQ."""
    return services["SWIFT_TRAINER_AMQP_URL"]


@pytest.fixture(scope="session")
def mongodb_url(services: dict[str, str]) -> str:
    """URL of the real mongod."""
    return services["SWIFT_TRAINER_MONGODB_URL"]


@pytest.fixture(scope="session")
def swift_command() -> str:
    """The real `swift` command, in its own environment."""
    return _script("bash", "deploy/swift-venv.sh", timeout_s=1500).strip().splitlines()[-1]


@pytest.fixture(scope="session")
def tiny(swift_command: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of a tiny model and its data sets, made on the spot."""
    folder = tmp_path_factory.mktemp("tiny")
    python = str(Path(swift_command).with_name("python"))
    out = _script(python, "deploy/tiny_model.py", "--dir", str(folder), timeout_s=300)
    try:
        found: dict[str, str] = json.loads(out.strip().splitlines()[-1])
    except (ValueError, IndexError):
        pytest.exit(f"deploy/tiny_model.py printed no JSON line: {out!r}", returncode=3)
    return found


@pytest.fixture(scope="session")
def standin_command() -> str:
    """A stand-in for `swift`: a test double with the same process shape."""
    return f"{sys.executable} {REPO / 'tests' / 'standin' / 'swift_standin.py'}"
