"""`swift-trainerd --check`: what is wrong with the broker, the store, the devices and ms-swift, and what to do."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from daemon.adapters.device_setting import DeviceSettingError, make_devices
from daemon.adapters.mongo import MongoStore
from daemon.adapters.rabbit import check_broker
from daemon.adapters.toolchain import SwiftToolchain
from daemon.ports import ToolchainError, UnavailableError
from daemon.settings import Settings

LIMIT_S = 150.0


async def check(settings: Settings) -> bool:
    """Print a line for each part; whether all are well."""
    parts: dict[str, Callable[[Settings], Awaitable[str]]] = {
        "broker": _broker,
        "store": _store,
        "devices": _devices,
        "ms-swift": _swift,
        "state": _state,
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
    toolchain = SwiftToolchain(
        settings.swift_command, version=settings.swift_version, cache_dir=settings.state_path / "cache"
    )
    installed = await toolchain.installed()
    return f"ok (ms-swift {installed.version})" if installed.state == "ok" else installed.state


async def _state(settings: Settings) -> str:
    settings.state_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    probe = settings.state_path / ".write-probe"
    probe.write_bytes(b"")
    probe.unlink()
    return f"ok ({settings.state_path})"
