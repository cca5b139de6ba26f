#!/usr/bin/env python3
"""Back the store up into one file, and restore it, where MongoDB's own tools are not at hand.

    backup.py save FILE          every collection of the database, as gzip'd lines of Extended JSON
    backup.py restore FILE       into an empty database; indexes are made by the daemon when it starts

The store is that of SWIFT_TRAINER_MONGODB_URL and SWIFT_TRAINER_MONGODB_DATABASE. A backup may be taken while daemons
and trainings run: each document is whole, state and events together. To be run with the daemon's own Python.
"""

import argparse
import gzip
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bson import json_util
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from daemon.core.masking import mask
from daemon.settings import Settings

BATCH = 1000
Document = dict[str, Any]


class BackupError(Exception):
    """What is wrong, and what to do."""


def save(store: Database[Document], path: Path) -> int:
    """Write all documents to a file, whole or not at all; how many. The file is its owner's alone."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    count = 0
    try:
        with (
            os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw,
            gzip.open(raw, "wt") as out,
        ):
            for name in sorted(store.list_collection_names()):
                for document in store[name].find(sort=[("_id", 1)]):
                    out.write(json_util.dumps({"collection": name, "document": document}) + "\n")
                    count += 1
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def restore(store: Database[Document], path: Path) -> int:
    """Write all documents of a file into the store, which has none yet; how many."""
    if any(store[name].find_one() is not None for name in store.list_collection_names()):
        raise BackupError(
            f"the database {store.name} is not empty; stop the daemons and drop it, or restore into another "
            "(SWIFT_TRAINER_MONGODB_DATABASE)"
        )
    count = 0
    for name, documents in _batches(path):
        store[name].insert_many(documents)
        count += len(documents)
    return count


def _batches(path: Path) -> Iterator[tuple[str, list[Document]]]:
    """Documents of one collection each time, not too many."""
    name, batch = "", list[Document]()
    with gzip.open(path, "rt") as lines:
        for line in lines:
            entry = json_util.loads(line)
            if batch and (entry["collection"] != name or len(batch) == BATCH):
                yield name, batch
                batch = []
            name = entry["collection"]
            batch.append(entry["document"])
    if batch:
        yield name, batch


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["save", "restore"])
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    settings = Settings()
    act = {"save": save, "restore": restore}[options.what]
    try:
        with MongoClient[Document](
            settings.mongodb_url.get_secret_value(), tz_aware=True, serverSelectionTimeoutMS=10_000
        ) as client:
            count = act(client[settings.mongodb_database], options.file)
    except (BackupError, OSError, ValueError, KeyError, EOFError, PyMongoError) as error:
        sys.exit(f"backup: {options.file}: {mask(str(error))}")
    sys.stdout.write(f"{count} documents\n")


if __name__ == "__main__":
    main()
