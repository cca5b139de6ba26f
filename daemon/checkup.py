"""`swift-trainerd --check`: what is wrong with the broker, the store, the devices, ms-swift and the folders,
and what to do.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable

from pymongo.errors import PyMongoError

from daemon.adapters.device_setting import DeviceSettingError, make_devices
from daemon.adapters.mongo import MongoStore
from daemon.adapters.rabbit import check_broker
from daemon.adapters.toolchain import SwiftToolchain
from daemon.core.masking import mask
from daemon.ports import ToolchainError, UnavailableError
from daemon.settings import Settings

LIMIT_S = 200.0
"""Above what ms-swift is given to answer, so that its own message is seen."""


async def check(settings: Settings) -> bool:
    """Print a line for each part; whether all are well."""
    parts: dict[str, Callable[[Settings], Awaitable[str]]] = {
        "broker": _broker,
        "store": _store,
        "devices": _devices,
        "ms-swift": _swift,
        "state": _state,
        "work": _work,
    }
    well = True
    for name, part in parts.items():
        try:
            async with asyncio.timeout(LIMIT_S):
                found = await part(settings)
        except (UnavailableError, ToolchainError, DeviceSettingError, OSError, TimeoutError) as error:
            found = str(error) or type(error).__name__
            well = False
        else:
            well = well and found.startswith("ok")
        sys.stdout.write(f"{name:<9} {found}\n")
    return well


async def _broker(settings: Settings) -> str:
    try:
        return await check_broker(settings.amqp_url.get_secret_value(), settings.amqp_ca_path)
    except UnavailableError as error:
        raise UnavailableError(f"{error}; check that it runs, and SWIFT_TRAINER_AMQP_URL") from None


async def _store(settings: Settings) -> str:
    store = MongoStore(settings.mongodb_url.get_secret_value(), settings.mongodb_database)
    try:
        return await store.check()
    except PyMongoError as error:  # an outage is an UnavailableError; this is a setting that can't be understood
        fault = f"{mask(str(error))}; check SWIFT_TRAINER_MONGODB_URL and SWIFT_TRAINER_MONGODB_DATABASE"
        raise UnavailableError(fault) from None
    finally:
        await store.close()


async def _devices(settings: Settings) -> str:
    devices = await asyncio.to_thread(make_devices, settings.devices, settings.node_id)
    try:
        found = await devices.check()
        return f"ok ({len(await devices.read())} devices)" if found == "ok" else found
    finally:
        await devices.close()


async def _swift(settings: Settings) -> str:
    # past the cache: that it answered once says nothing of today
    toolchain = SwiftToolchain(settings.swift_command, version=settings.swift_version, cache_dir=None)
    installed = await toolchain.installed()
    return f"ok (ms-swift {installed.version})" if installed.state == "ok" else installed.state


async def _state(settings: Settings) -> str:
    settings.state_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    probe = settings.state_path / ".write-probe"
    probe.write_bytes(b"")
    probe.unlink()
    return f"ok ({settings.state_path})"


async def _work(settings: Settings) -> str:
    folder = settings.work_path
    if not await asyncio.to_thread(folder.is_dir):
        return f"there is no folder {folder}; make it, or set SWIFT_TRAINER_WORK_DIR"
    if not await asyncio.to_thread(os.access, folder, os.R_OK | os.X_OK):
        return f"{folder} can't be read; trainings run in it (SWIFT_TRAINER_WORK_DIR)"
    return f"ok ({folder})"
