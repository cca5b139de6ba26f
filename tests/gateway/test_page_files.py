"""The files of the page: libraries as they were fetched, both languages whole, all of it in the wheel."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.e2e.harness import REPO

PAGE = REPO / "daemon" / "gateway" / "page"
KEY = re.compile(r'^  (?:"([^"]+)"|(\w+)): "(.*)",$', re.MULTILINE)


def words(language: str) -> dict[str, str]:
    text = (PAGE / "lang" / f"{language}.js").read_text()
    found = {quoted or plain: value for quoted, plain, value in KEY.findall(text)}
    assert len(found) == text.count("\n") - 2  # one a line, none twice
    return found


def test_the_libraries_are_those_that_were_fetched() -> None:
    noted = json.loads((PAGE / "vendor" / "vendor.json").read_text())
    there = {file.name for file in (PAGE / "vendor").iterdir()} - {"vendor.json"}
    assert set(noted) == there
    for name, note in noted.items():
        assert hashlib.sha256((PAGE / "vendor" / name).read_bytes()).hexdigest() == note["sha256"], name


def test_both_languages_have_every_text_and_no_other() -> None:
    english, chinese = words("en"), words("zh")
    assert english.keys() == chinese.keys()
    for key in english:
        assert set(re.findall(r"\{\w+\}", english[key])) == set(re.findall(r"\{\w+\}", chinese[key])), key
    code = "\n".join(path.read_text() for path in PAGE.rglob("*.js") if not {"vendor", "lang"} & set(path.parts))
    for key in re.findall(r'\bt\("([^"]+)"', code):
        assert key in english, key
    starts = set(re.findall(r"\bt\(`([a-z.]+)\$\{", code))
    for start in starts:
        assert any(key.startswith(start) for key in english), start
    used = set(re.findall(r'"([\w.]+)"', code))
    for key in english:
        assert key in used or any(key.startswith(start) for start in starts), f"{key} is used nowhere"


def test_nothing_in_the_page_comes_from_elsewhere_or_runs_as_text() -> None:
    for path in PAGE.rglob("*"):
        if path.suffix in {".js", ".html", ".css"} and "vendor" not in path.parts:
            text = path.read_text()
            assert not re.search(r"https?://(?!www\.w3\.org)", text), path
            for word in ("innerHTML", "dangerouslySetInnerHTML", "eval(", "Function(", "onclick=", "style="):
                assert word not in text.replace("style=${{", ""), (path, word)


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(argv, cwd=REPO, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as found:
        names = set(found.namelist())
    assert {str(path.relative_to(REPO)) for path in PAGE.rglob("*") if path.is_file()} <= names
