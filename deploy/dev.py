"""`make dev`: broker, store and daemon, left running with their data below .dev; `make dev-stop` ends them.

dev.py up | down
"""

import sys
from pathlib import Path

import desk

FOLDER = Path(".dev")


def up() -> None:
    """Start what does not run, and print what a shell needs."""
    opened = desk.open_desk(FOLDER.absolute(), "swift_trainer_dev", on_exit="leave")
    desk.start_daemon(opened)
    for name, value in opened.settings.items():
        sys.stdout.write(f"export {name}='{value}'\n")
    sys.stderr.write(
        f"dev: broker, store and daemon are running; the daemon's log is {opened.log_path}.\n"
        'dev: for a shell that talks to them: eval "$(make --silent dev)"; to end them: make dev-stop\n'
    )


def down() -> None:
    """End them; the daemon first. Trainings that still run go on, as they do whenever the daemon stops."""
    desk.stop_daemon(FOLDER.absolute())
    desk.stop_services(FOLDER.absolute())


if __name__ == "__main__":
    {"up": up, "down": down}[sys.argv[1]]()
