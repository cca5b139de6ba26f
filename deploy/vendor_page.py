#!/usr/bin/env python3
"""Bring the libraries of the gateway's page from the npm registry into `daemon/gateway/page/vendor`, pinned.

    vendor_page.py            fetch, write, and note name, version and SHA-256 of each file in vendor.json

The page needs no build step: these are ES modules as their authors ship them, but for bare imports ("preact"), which a
browser can't resolve and which are made relative. A test compares the files with vendor.json. Needs npm.
"""

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "daemon" / "gateway" / "page" / "vendor"
PACKAGES = {
    "preact@11.2.0": {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "hooks.js", "LICENSE": "preact.LICENSE"},
    "htm@3.1.1": {"dist/htm.mjs": "htm.js", "LICENSE": "htm.LICENSE"},
    "uplot@1.6.32": {"dist/uPlot.esm.js": "uplot.js", "dist/uPlot.min.css": "uplot.css", "LICENSE": "uplot.LICENSE"},
}
BARE = re.compile(r"""(from\s*)(["'])preact\2""")
SOURCE_MAP = re.compile(r"\n//# sourceMappingURL=.*\n?$")


def main() -> None:
    """Entry point."""
    TARGET.mkdir(parents=True, exist_ok=True)
    notes: dict[str, dict[str, str]] = {}
    for package, files in PACKAGES.items():
        archive = packed(package)
        for source, name in files.items():
            member = archive.extractfile(f"package/{source}")
            if member is None:
                sys.exit(f"vendor: {package} has no {source}")
            text = SOURCE_MAP.sub("\n", BARE.sub(r"\1\2./preact.js\2", member.read().decode()))
            (TARGET / name).write_text(text)
            notes[name] = {"package": package, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (TARGET / "vendor.json").write_text(json.dumps(notes, indent=2) + "\n")


def packed(package: str) -> tarfile.TarFile:
    """A package as the registry has it."""
    with tempfile.TemporaryDirectory() as folder:
        argv = ["npm", "pack", "--silent", "--pack-destination", folder, package]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"vendor: npm can't fetch {package}:\n{done.stderr[-1000:]}")
        return tarfile.open(fileobj=io.BytesIO(next(Path(folder).iterdir()).read_bytes()))


if __name__ == "__main__":
    main()
