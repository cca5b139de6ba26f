"""Stand-ins for the programs of the how-to pages that would change the machine, or that need systemd as process 1.

Run as `standins.py NAME ARGUMENTS...`, with the scratch root in HOWTO_ROOT; the standard library alone. `systemctl`
does with a unit of the scratch root what systemd does: the unit's own command line, with its own environment and its
files, and a stop that signals the main process and nothing else.
"""

import os
import re
import shlex
import signal
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))
from deploy import services  # noqa: E402

ROOT = Path(os.environ.get("HOWTO_ROOT", "/nonexistent"))
ABSOLUTE = re.compile(r"(?<![\w./:-])/(etc|opt|var|usr/local|data)(?=/|\b)")
BROKER = ROOT / "services"


def rooted(text: str) -> str:
    """A text whose absolute paths lie below the scratch root."""
    return ABSOLUTE.sub(lambda found: f"{ROOT}{found[0]}", text)


# ---------------------------------------------------------------- programs


def sudo(words: list[str]) -> None:
    """The rest, as who runs the tests, whoever it is for."""
    if words[0] == "-u":
        words = words[2:]
    os.execvp(words[0], words)  # noqa: S606


def nothing(_words: list[str]) -> None:
    """Users of the machine are left alone."""


def install(words: list[str]) -> None:
    """The real one without the group, which is not there."""
    kept = list(words)
    while "-g" in kept:
        place = kept.index("-g")
        del kept[place : place + 2]
    os.execv("/usr/bin/install", ["install", *kept])  # noqa: S606


def rabbitmqctl(words: list[str]) -> None:
    """The real one, on the private broker."""
    env = services.rabbitmq_env(BROKER, services.load(BROKER, "rabbitmq"))
    program = str(services.RABBITMQ_SCRIPT.with_name("rabbitmqctl"))
    os.execve(program, [program, *words], env)  # noqa: S606


def systemd_run(words: list[str]) -> None:
    """The command with the environment that -E and -p name; what the file says is stronger, as in systemd."""
    env, from_files, rest = base_environment(), dict[str, str](), list(words)
    while rest[0].startswith("-"):
        word = rest.pop(0)
        if word in ("-p", "-E"):
            name, _, value = rest.pop(0).partition("=")
            if word == "-E":
                env[name] = value
            elif name == "EnvironmentFile":
                from_files |= read_environment(Path(value))
    os.execve(rest[0], rest, {**env, **from_files})  # noqa: S606


def journalctl(words: list[str]) -> None:
    """The end of a unit's log."""
    sys.stdout.write(log_of(words[words.index("-u") + 1]).read_text()[-4000:])


def systemctl(words: list[str]) -> None:
    """What can be done with a unit."""
    verb, *units = [word for word in words if word != "--now"]
    if verb == "daemon-reload":
        return
    (unit,) = units
    if unit == "rabbitmq-server":
        assert verb == "restart"
        services.END["rabbitmq"](BROKER, 15)
        services.UP["rabbitmq"](BROKER)
        return
    if verb == "reload":
        reload(unit)
    if verb in ("stop", "restart"):
        services.end(services.load(ROOT, unit), 15)
    if verb in ("start", "restart") or (verb == "enable" and "--now" in words):
        start(unit)


# ---------------------------------------------------------------- units


def start(name: str) -> None:
    """Start a unit's command line in the background."""
    unit = read_unit(ROOT / "etc/systemd/system" / f"{name}.service")
    env = {**base_environment(), **dict(value.split("=", 1) for value in unit["Environment"])}
    for file in unit["EnvironmentFile"]:
        env |= read_environment(Path(file))
    for folder in unit["StateDirectory"]:
        (ROOT / "var/lib" / folder).mkdir(parents=True, exist_ok=True)
    os.chdir(unit["WorkingDirectory"][0])
    services.save(ROOT, name, services.spawn(shlex.split(unit["ExecStart"][0]), env, log_of(name)))


def reload(name: str) -> None:
    """The signal that a unit's ExecReload sends."""
    unit = read_unit(ROOT / "etc/systemd/system" / f"{name}.service")
    found = re.fullmatch(r"/bin/kill -(\w+) \$MAINPID", unit["ExecReload"][0])
    assert found is not None
    os.kill(int(services.load(ROOT, name)["pid"]), signal.Signals[f"SIG{found[1]}"])


def read_unit(path: Path) -> dict[str, list[str]]:
    """A unit's settings, its paths below the scratch root."""
    found: dict[str, list[str]] = {"Environment": [], "EnvironmentFile": [], "StateDirectory": []}
    for line in path.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(
                rooted(f" {value}").strip() if name != "Environment" else env_rooted(value)
            )
    return found


def env_rooted(value: str) -> str:
    """`NAME=/path` with the path below the scratch root."""
    name, _, rest = value.partition("=")
    return f"{name}={rooted(rest)}"


def read_environment(path: Path) -> dict[str, str]:
    """An environment file."""
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def base_environment() -> dict[str, str]:
    """What systemd gives a unit."""
    return {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}


def log_of(name: str) -> Path:
    """A unit's log."""
    return ROOT / f"{name}.log"


PROGRAMS = {
    "sudo": sudo,
    "useradd": nothing,
    "usermod": nothing,
    "install": install,
    "rabbitmqctl": rabbitmqctl,
    "systemd-run": systemd_run,
    "journalctl": journalctl,
    "systemctl": systemctl,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2:])
