"""The store under test: its in-memory twin, and the real one on the suite's `mongod`."""

from collections.abc import AsyncGenerator, Generator
from uuid import uuid4

import pytest
from pymongo import MongoClient

from daemon.adapters.memory_store import MemoryStore
from daemon.adapters.mongo import MongoStore
from daemon.ports import Store

Documents = MongoClient[dict[str, object]]


@pytest.fixture(scope="module")
def documents(mongodb_url: str) -> Generator[Documents]:
    """A client of its own, beside the store's, to look into the database and to clean up."""
    with MongoClient[dict[str, object]](mongodb_url) as client:
        yield client


@pytest.fixture(scope="module")
def database(documents: Documents) -> Generator[str]:
    """The name of a database of this module's own."""
    name = f"store_{uuid4().hex}"
    yield name
    documents.drop_database(name)


@pytest.fixture
async def mongo(mongodb_url: str, database: str, documents: Documents) -> AsyncGenerator[MongoStore]:
    """The store on MongoDB, empty, with its indexes."""
    store = MongoStore(mongodb_url, database)
    await store.prepare()
    yield store
    await store.close()
    for name in documents[database].list_collection_names():
        if not name.startswith("system."):
            documents[database][name].delete_many({})


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest) -> Store:
    """Each store in turn; what holds for one holds for the other."""
    if request.param == "memory":
        return MemoryStore()
    real: MongoStore = request.getfixturevalue("mongo")
    return real
