"""Write `schemas/generated` from the models: `python -m schemas.generate`; with `--check` only say what is stale.

The output depends on the models and on pydantic alone, and needs no library beside it, so equal sources give equal
bytes.
"""

import argparse
import json
import sys
from pathlib import Path

from schemas.asyncapi import asyncapi
from schemas.json_schemas import json_schemas
from schemas.yaml_text import to_yaml

FOLDER = Path(__file__).with_name("generated")
NOTE = "# Made by `python -m schemas.generate` from the models in schemas/; change those.\n"


def generated() -> dict[str, str]:
    """The text of every generated file by its path below the folder."""
    files = {
        path: json.dumps(schema, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        for path, schema in json_schemas().items()
    }
    return {"asyncapi.yaml": NOTE + to_yaml(asyncapi()), **files}


def stale(folder: Path, files: dict[str, str]) -> list[str]:
    """The paths that differ from what they should be: changed, missing, or no longer generated."""
    there = {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.is_file()
    }
    return sorted(path for path in there.keys() | files.keys() if there.get(path) != files.get(path))


def write(folder: Path, files: dict[str, str]) -> list[str]:
    """Bring the folder up to date; the paths that changed."""
    changed = stale(folder, files)
    for path in changed:
        place = folder / path
        if path in files:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(files[path], encoding="utf-8")
        else:
            place.unlink()
    return changed


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """The command line; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name the files that are stale")
    if not parser.parse_args(arguments).check:
        changed = write(folder, generated())
        sys.stdout.write("".join(f"written: {path}\n" for path in changed) or "up to date\n")
        return 0
    names = stale(folder, generated())
    sys.stderr.write("".join(f"stale: {path}\n" for path in names))
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
