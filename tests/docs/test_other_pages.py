"""The shell lines of the pages that are neither the README nor a how-to: where each is run, or why by no test."""

import re
import subprocess

import pytest

from tests.docs.place import commands
from tests.e2e.harness import REPO

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
RUN_ELSEWHERE = {
    r"^make venv$": "tests/deploy/test_venv.py, and by every other target",
    r"^python3 deploy/rabbitmq/make_definitions\.py": "tests/deploy/test_definitions.py, and the how-to pages",
    r"^sudo rabbitmqctl (import_definitions|delete_user guest)": "as docs/how-to/deploy-one-host.md has it",
    r"^sudo rabbitmqctl (add_user|set_permissions|set_topic_permissions) team-a": "as docs/how-to/tls-and-users.md",
}
NOT_RUN = {
    r"^make (check|test)\b": "it is what runs the tests, and what .ci/run begins with",
    r"^bash deploy/lock\.sh": "resolves both environments from the index: minutes, and another result each day",
}
OTHER_PAGES = sorted(
    path
    for path in (
        *REPO.glob("*.md"),
        *REPO.glob("deploy/**/*.md"),
        *REPO.glob("docs/*.md"),
        *REPO.glob("docs/reference/*.md"),
    )
    if path.name != "README.md" or path.parent != REPO
)


def told() -> list[str]:
    return [line for page in OTHER_PAGES for block in BLOCK.findall(page.read_text()) for line in commands(block)]


def test_every_line_is_run_or_has_a_reason_not_to_be() -> None:
    known = (*RUN_ELSEWHERE, *NOT_RUN)
    assert [line for line in told() if not any(re.search(pattern, line) for pattern in known)] == []
    for pattern in known:
        assert any(re.search(pattern, line) for line in told()), f"no page says {pattern}"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_that_a_page_names_can_be_made(page: str) -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", (REPO / page).read_text(), re.MULTILINE))
    assert named
    for target in named:
        argv = ["make", "--dry-run", target]
        done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_locks_script_is_one_that_bash_understands() -> None:
    done = subprocess.run(["bash", "-n", "deploy/lock.sh"], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
