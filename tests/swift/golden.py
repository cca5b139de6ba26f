"""Writes the golden files of the recordings anew: `python -m tests.swift.golden`. Read the difference, then keep it."""

import json
from dataclasses import asdict

from tests.swift.recordings import DATA, names, recording

if __name__ == "__main__":
    folder = DATA / "swift_records"
    folder.mkdir(exist_ok=True)
    for name in names():
        records = [{"record": type(record).__name__, **asdict(record)} for record in recording(name).records()]
        lines = ",\n".join(json.dumps(record) for record in records)
        (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n")
