#!/usr/bin/env python3
"""Makes RabbitMQ definitions for the Swift Trainer: users with the least rights, limits as policies.

    make_definitions.py                                  print them without passwords: nobody can log in
    make_definitions.py --passwords FILE [--out FILE]    with the hashes of the passwords in FILE

FILE has lines RABBITMQ_DAEMON_PASSWORD=..., and likewise for the other roles (in capitals); other lines
are ignored, so deploy/.env serves as it is. A role that has no line gets no user. `deploy/rabbitmq/README.md` says what
each user may do and why. The standard library alone.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

PLACEHOLDER = "CHANGE_ME"
SHORTEST_PASSWORD = 12
VHOST = "/"
DAYS_MS = 24 * 60 * 60 * 1000
MIB = 1024 * 1024

USERS = {role: f"swift-{role}" for role in ("daemon", "publisher", "subscriber", "operator", "gateway", "notifier")}
TAGS = {"gateway": ["impersonator"]}
"""The gateway acts for the owners of its tokens: RabbitMQ lets it name any user as a message's `user_id`."""

Json = dict[str, object]


def definitions(passwords: Mapping[str, str] | None) -> Json:
    """What RabbitMQ imports; `passwords` by role, or None for users that can't log in."""
    roles = [role for role in USERS if passwords is None or role in passwords]
    return {
        "vhosts": [{"name": VHOST}],
        "users": [user(role, "" if passwords is None else hash_of(passwords[role])) for role in roles],
        "permissions": [permission(role) for role in roles],
        "topic_permissions": [entry for role in roles for entry in topic_permissions(role)],
        "policies": policies(),
    }


# ---------------------------------------------------------------- users


def user(role: str, password_hash: str) -> Json:
    """A user without a right to manage the broker. With an empty hash it can't log in."""
    return {
        "name": USERS[role],
        "password_hash": password_hash,
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": TAGS.get(role, []),
    }


def hash_of(password: str, salt: bytes | None = None) -> str:
    """RabbitMQ's form: base64 of four random bytes and SHA-256 of those bytes with the password behind them."""
    salt = secrets.token_bytes(4) if salt is None else salt
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def permission(role: str) -> Json:
    """What a user may configure (declare, delete), write (publish, bind a queue) and read (consume, bind from)."""
    own, told = own_queues(USERS[role]), r"swift\.notifications(\..+)?"
    configure, write, read = {
        # the default exchange (replies go there) is called amq.default here
        "daemon": (
            r"^swift\.(commands|commands\.dead|events|node\..+)$",
            r"^(amq\.default|swift\.(commands|commands\.dead|events|node\..+))$",
            r"^swift\.(commands|commands\.dead|events|node\..+)$",
        ),
        "publisher": (f"^({own})$", r"^swift\.commands$", f"^({own})$"),
        "subscriber": (f"^({own})$", f"^({own})$", rf"^({own}|swift\.events)$"),
        "operator": (f"^({own})$", rf"^({own}|swift\.commands)$", rf"^({own}|swift\.events|swift\.commands\.dead)$"),
        "gateway": (f"^({own})$", rf"^({own}|swift\.commands)$", rf"^({own}|swift\.events)$"),
        "notifier": (f"^({own}|{told})$", f"^({own}|{told})$", rf"^({own}|{told}|swift\.events)$"),
    }[role]
    return {"user": USERS[role], "vhost": VHOST, "configure": configure, "write": write, "read": read}


def own_queues(name: str) -> str:
    """A client's own queues: named by the broker, named by aio-pika's robust connections, or `USER.anything`."""
    return rf"amq\.gen-.+|amq_.+|{name}\..+"


def topic_permissions(role: str) -> list[Json]:
    """Which routing keys a user may publish with (write) and bind to (read) on the topic exchanges."""
    commands, events = "swift.commands", "swift.events"
    allowed = {
        "daemon": [],
        # all commands that concern jobs, and those that only look; draining a node is an operator's
        "publisher": [(commands, r"^(job|params|gpu|queue|system)\..+|^node\.list$", "^$")],
        "subscriber": [(events, "^$", ".*")],
        "operator": [(commands, ".*", "^$"), (events, "^$", ".*")],
        "gateway": [(commands, ".*", "^$"), (events, "^$", ".*")],
        "notifier": [(events, "^$", r"^(job\.\*\.(status|export)|node\.\*)\.\*$")],
    }[role]
    return [
        {"user": USERS[role], "vhost": VHOST, "exchange": exchange, "write": write, "read": read}
        for exchange, write, read in allowed
    ]


# ---------------------------------------------------------------- limits


def policies() -> list[Json]:
    """Bounds on every queue; queue type, dead-lettering and delivery limit are declared by the daemon itself."""
    return [
        # full: publishers get a nack, nothing is lost in silence. Dead letters too wait until they are really stored.
        policy(
            "swift-commands",
            r"^swift\.commands$",
            {
                "max-length": 10_000,
                "max-length-bytes": 256 * MIB,
                "overflow": "reject-publish",
                "dead-letter-strategy": "at-least-once",
            },
        ),
        # dead letters are for people to look at: the newest 10,000 of the last 30 days
        policy(
            "swift-commands-dead",
            r"^swift\.commands\.dead$",
            {
                "max-length": 10_000,
                "max-length-bytes": 256 * MIB,
                "overflow": "drop-head",
                "message-ttl": 30 * DAYS_MS,
            },
        ),
        # a client that sleeps must not fill the broker: its queue keeps the newest, and goes after a week without it
        policy(
            "swift-clients",
            rf"^(amq\.gen-|amq_|({'|'.join(USERS.values())})\.)",
            {
                "max-length": 100_000,
                "max-length-bytes": 256 * MIB,
                "overflow": "drop-head",
                "expires": 7 * DAYS_MS,
            },
        ),
    ]


def policy(name: str, pattern: str, definition: Json) -> Json:
    """A policy for queues."""
    return {
        "vhost": VHOST,
        "name": name,
        "pattern": pattern,
        "apply-to": "queues",
        "priority": 10,
        "definition": definition,
    }


# ---------------------------------------------------------------- the command line


def read_passwords(text: str) -> dict[str, str]:
    """Passwords by role from the lines of an env file. Raises `ValueError` with what is wrong."""
    found: dict[str, str] = {}
    for role in USERS:
        name = f"RABBITMQ_{role.upper()}_PASSWORD"
        given = re.search(rf"(?m)^{name}=(.*)$", text)
        if given is None:
            continue
        password = given[1].strip()
        if password == PLACEHOLDER:
            raise ValueError(f"{name} is still {PLACEHOLDER}; set it, or run deploy/fill_secrets.py on the file")
        if len(password) < SHORTEST_PASSWORD:
            raise ValueError(f"{name} has to have {SHORTEST_PASSWORD} characters or more")
        found[role] = password
    if "daemon" not in found:
        raise ValueError("there is no line RABBITMQ_DAEMON_PASSWORD=...")
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passwords", type=Path, help="env file with the passwords")
    parser.add_argument("--out", type=Path, help="where to write to; a folder that is made for it is its owner's alone")
    options = parser.parse_args()
    try:
        passwords = None if options.passwords is None else read_passwords(options.passwords.read_text("utf-8"))
    except (OSError, ValueError) as error:
        sys.exit(f"make_definitions: {options.passwords}: {error}")
    text = json.dumps(definitions(passwords), indent=2) + "\n"
    if options.out is None:
        sys.stdout.write(text)
    else:
        write(options.out, text)


def write(path: Path, text: str) -> None:
    """Write whole or not at all; readable, for the broker's user in its container, but in a folder that is not."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.chmod(0o644)
    part.replace(path)


if __name__ == "__main__":
    main()
