"""The rights that `create-user.js` gives are enough for the daemon's store, and are no more than its own database."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest
from pymongo.errors import ConnectionFailure, OperationFailure

from daemon.adapters.mongo import MongoStore
from deploy import env_example, services
from tests.core.factory import make_job

pytestmark = pytest.mark.services

SCRIPT = Path(env_example.__file__).parent / "mongodb" / "create-user.js"
READY_LIMIT_S = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a mongod that asks for a password, with the daemon's user as the script makes it."""
    folder, port = tmp_path_factory.mktemp("mongod"), services.free_port()
    argv = [services.mongod_binary(), "--auth", "--bind_ip", "127.0.0.1", "--port", str(port), "--dbpath", str(folder)]
    process = subprocess.Popen(
        [*argv, "--nounixsocket", "--logpath", str(folder / "log"), "--wiredTigerCacheSizeGB", "0.25"]
    )
    try:
        address = f"127.0.0.1:{port}"
        create_users(address)
        yield address
    finally:
        process.terminate()
        process.wait()


def create_users(address: str) -> None:
    """What the image's entry point does: a root user, then the script's user by it."""
    assert 'const name = "swift_trainer"' in SCRIPT.read_text()
    given = re.search(
        r"createUser\(\{ user: name, pwd: password, roles: \[\{ role: \"(\w+)\", db: name \}\] \}\)", SCRIPT.read_text()
    )
    assert given is not None
    wait_ready(address)
    with pymongo.MongoClient[dict[str, object]](f"mongodb://{address}") as first:
        first.admin.command({"createUser": "root", "pwd": "root-password", "roles": ["root"]})
    with pymongo.MongoClient[dict[str, object]](f"mongodb://root:root-password@{address}") as root:
        roles = [{"role": given[1], "db": "swift_trainer"}]
        root.swift_trainer.command({"createUser": "swift_trainer", "pwd": "daemon-password", "roles": roles})


def wait_ready(address: str) -> None:
    deadline = time.monotonic() + READY_LIMIT_S
    while True:
        try:
            with pymongo.MongoClient[dict[str, object]](f"mongodb://{address}", serverSelectionTimeoutMS=500) as client:
                client.admin.command("ping")
                return
        except ConnectionFailure:
            assert time.monotonic() < deadline, "mongod did not start"


async def test_the_daemons_user_can_keep_its_store(server: str) -> None:
    url = f"mongodb://swift_trainer:daemon-password@{server}/?authSource=swift_trainer"
    store = MongoStore(url, "swift_trainer")
    try:
        await store.prepare()
        await store.prepare()  # with the indexes there
        assert await store.check() == "ok"
        assert await store.insert_job(make_job())
    finally:
        await store.close()


def test_the_daemons_user_can_do_nothing_else(server: str) -> None:
    url = f"mongodb://swift_trainer:daemon-password@{server}/?authSource=swift_trainer"
    with pymongo.MongoClient[dict[str, object]](url) as client:
        with pytest.raises(OperationFailure, match="not authorized"):
            client.other.things.insert_one({})
        with pytest.raises(OperationFailure, match="not authorized"):
            client.swift_trainer.command({"createUser": "another", "pwd": "x", "roles": []})
