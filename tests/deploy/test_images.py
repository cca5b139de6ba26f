"""The Dockerfile and the shell scripts, as far as they can be read without an engine."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy import env_example

FOLDER = Path(env_example.__file__).parent
REPO = FOLDER.parent
SCRIPTS = sorted(FOLDER.glob("*.sh"))


def instructions() -> list[tuple[str, str]]:
    """Instructions and what follows them, with continued lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (FOLDER / "Dockerfile").read_text())
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def test_base_images_have_a_version() -> None:
    found = instructions()
    arguments = dict(rest.split("=", 1) for name, rest in found if name == "ARG")
    stages: list[str] = []
    for name, rest in found:
        if name == "FROM":
            image, _, stage = rest.partition(" AS ")
            image = re.sub(r"\$\{(\w+)\}", lambda match: arguments[match[1]], image)
            assert image in stages or re.search(r":\d+\.\d+", image), f"{image} has no version"
            stages.append(stage)
    assert stages[-2:] == ["daemon", "trainer"]


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignore = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignore[1] == "*", "nothing but what is named"
    allowed = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and not rest.startswith("--from")]
    assert copied
    for source in [source for sources in copied for source in sources]:
        assert (REPO / source).exists(), source
        assert any(source == entry or source.startswith(f"{entry}/") for entry in allowed), source
    for entry in allowed:
        assert (REPO / entry).exists(), entry


def test_the_images_run_as_a_user_under_an_init() -> None:
    found = instructions()
    last_user = [rest for name, rest in found if name == "USER"][-1]
    assert last_user == "swift-trainer"
    assert [rest for name, rest in found if name == "ENTRYPOINT"] == ['["tini", "--", "swift-trainerd"]']
    assert ("STOPSIGNAL", "SIGTERM") in found


def test_versions_come_from_the_locks() -> None:
    runs = " ".join(rest for name, rest in instructions() if name == "RUN")
    for install in re.findall(r"pip\S* (?:--python \S+ )?install [^&;]*", runs):
        pinned = "--constraint" in install or "--requirement" in install or "'^torch=='" in install
        assert pinned, install


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_script_is_sound(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert "set -euo pipefail" in script.read_text()
    shellcheck = shutil.which("shellcheck")
    if shellcheck is not None:
        done = subprocess.run(
            [shellcheck, "--severity=warning", str(script)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("arguments", [["--only", "nonsense"], ["--only"]])
def test_the_lock_script_refuses_what_it_does_not_know(arguments: list[str]) -> None:
    done = subprocess.run(["bash", str(FOLDER / "lock.sh"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "daemon" in done.stderr


def test_the_page_names_every_file() -> None:
    page = (FOLDER / "README.md").read_text()
    tracked = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "."], cwd=FOLDER,
                             capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
    names = {name.split("/")[0] + "/" * ("/" in name) for name in tracked} - {"README.md", ".gitignore"}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_nothing_that_is_secret_or_made_would_be_committed() -> None:
    made = [".env", "swift-trainer.env", "secrets/definitions.json", "data/model"]
    argv = ["git", "check-ignore", *made]
    done = subprocess.run(argv, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.stdout.split() == made
