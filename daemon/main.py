"""`swift-trainerd`: the daemon's command line. Settings come from the environment; see `--help`."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from daemon import __version__, checkup
from daemon.adapters.device_setting import DeviceSettingError
from daemon.adapters.state_folder import StateFolderTakenError
from daemon.adapters.threads import LeftBehind
from daemon.app import real_ports, serve
from daemon.core.masking import mask
from daemon.logs import configure, get_log
from daemon.settings import PREFIX, Settings, setting_faults
from daemon.tracing_sdk import tracing

log = get_log("main")

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `swift-trainerd`."""
    parser = argparse.ArgumentParser(
        prog="swift-trainerd",
        description="Runs ms-swift trainings that are ordered over RabbitMQ. Without options it runs until SIGTERM.",
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--check", action="store_true", help="say what is wrong with broker, store, devices and ms-swift"
    )
    parser.add_argument("--version", action="version", version=f"swift-trainerd {__version__}")
    options = parser.parse_args(argv)
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.writelines(f"swift-trainerd: {fault}\n" for fault in setting_faults(error))
        sys.exit(EXIT_USAGE)
    configure(form=settings.log_format, level=settings.log_level)
    if options.check:
        sys.exit(EXIT_OK if asyncio.run(checkup.check(settings)) else EXIT_FAILED)
    try:
        with tracing("swift-trainerd", settings.node_id):
            asyncio.run(run(settings))
    except (DeviceSettingError, StateFolderTakenError, OSError) as error:
        sys.stderr.write(f"swift-trainerd: {error}\n")
        sys.exit(EXIT_USAGE)


async def run(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT; a second one ends the process at once."""
    stopping, ready = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(LeftBehind())
    current = asyncio.current_task()

    def on_signal(name: str) -> None:
        if stopping.is_set():
            log.warning("daemon_killed", f"second {name}: leaving at once; the next start goes on from here")
            sys.stderr.flush()
            signal.raise_signal(signal.SIGKILL)
        stopping.set()
        if not ready.is_set() and current is not None:  # it waits for the broker or the store
            current.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    try:
        async with real_ports(settings) as ctx:
            await serve(ctx, stopping, ready)
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    log.info("daemon_stopped", "stopped")


def settings_help() -> str:
    """Every setting with its default, for `--help`."""
    lines = ["settings (environment variables, or a .env file in the current folder):"]
    for name, field in Settings.model_fields.items():
        lines.append(f"  {PREFIX}{name.upper()}")
        lines.append(f"      {field.description or ''} [{default_text(field)}]")
    return "\n".join(lines).replace("%", "%%")


def default_text(field: FieldInfo) -> str:
    """A setting's default as one would write it."""
    if field.default_factory is not None:
        return "from this host"
    value: object = field.default
    if isinstance(value, SecretStr):
        return mask(value.get_secret_value()) if "@" not in value.get_secret_value() else value.get_secret_value()
    if value is None or value == "" or value is PydanticUndefined:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    main()
