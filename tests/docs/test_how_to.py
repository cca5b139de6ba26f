"""The how-to pages, followed command by command in a scratch root: a deployment, its upgrade, its backup, and the rest.

One deployment serves them all, made by the first page. What the pages leave to the reader (settings, a model) is filled
in here; what no test runs is in `place.NOT_RUN`.
"""

import json
import re
import shlex
import tarfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pymongo
import pytest
import typer.core
import typer.main

from daemon.cli.main import app
from daemon.client import BrokerAwayError, Client
from deploy import services
from tests.docs.place import NOT_RUN, PAGES, Place, blocks, commands, reason_not_to_run
from tests.e2e.harness import REPO
from tests.notifier.receiver import receiver
from tests.notifier.samples import SECRET
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.timeout(900)]

FOLLOWED = {
    "deploy-one-host.md", "deploy-many-hosts.md", "tls-and-users.md", "upgrade.md", "backup-and-restore.md",
    "troubleshooting.md", "notifications.md",
}  # fmt: skip
AS_THE_GATEWAY = "sudo -u swift-gateway "
NEW_VERSION = "0.1.1"
WATCH = "swift-trainer watch --status running"
FOR_A_WHILE = {WATCH: f"(timeout --signal=INT 3 {WATCH} || test $? -eq 124)"}
"""A person ends it with Ctrl-C."""


def test_every_page_is_followed() -> None:
    assert {path.name for path in PAGES.glob("*.md")} == FOLLOWED


def test_what_is_not_run_is_on_a_page_and_little() -> None:
    told = [command for page in sorted(FOLLOWED) for block in blocks(page) for command in commands(block)]
    left = [command for command in told if reason_not_to_run(command) is not None]
    for pattern in NOT_RUN:
        assert any(re.search(pattern, command) for command in left), f"no page says {pattern}"
    assert len(left) <= 0.15 * len(told), left


@pytest.mark.parametrize("page", sorted(FOLLOWED))
def test_every_line_of_the_command_line_is_one_that_it_understands(page: str) -> None:
    for block in blocks(page):
        for line in commands(block):
            own = line.removeprefix(AS_THE_GATEWAY)
            if not own.startswith("swift-trainer "):
                continue
            _, *words = shlex.split(own.split("#")[0].split(" > ")[0].split("||")[0])
            names, command = words, typer.main.get_command(app)
            while isinstance(command, typer.core.TyperGroup):
                command, names = command.commands[names[0]], names[1:]
            if "--help" not in names:
                command.make_context(line, list(names))  # raises what the shell's user would see


# ---------------------------------------------------------------- one host


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """What `deploy-one-host.md` makes, with a stand-in for swift and two CPU slots."""
    place = Place(tmp_path_factory.mktemp("how-to"))
    try:
        place.services("up")
        broker, _store, install, start, *_ = blocks("deploy-one-host.md")
        place.run(broker)
        place.run(install)
        write_settings(place)
        make_things_to_train(place)
        place.run(start)
        yield place
    finally:
        place.close()


def write_settings(place: Place) -> None:
    """What a person does in the editor: the page's lines, and those of this machine."""
    (told,) = blocks("deploy-one-host.md", "ini")
    for text, by in (
        ("RABBITMQ_DAEMON_PASSWORD", place.secret("RABBITMQ_DAEMON_PASSWORD")),
        ("localhost:5672", f"127.0.0.1:{place.port('rabbitmq')}"),
        (
            "swift_trainer:MONGODB_DAEMON_PASSWORD@localhost/?authSource=swift_trainer",
            f"127.0.0.1:{place.port('mongod')}",
        ),
        ("=/data", f"={place.root}/data"),
    ):
        assert text in told
        told = told.replace(text, by)
    path = place.root / "etc/swift-trainer/swift-trainer.env"
    assert path.stat().st_mode & 0o777 == 0o640
    own = (
        f"SWIFT_TRAINER_STATE_DIR={place.root}/var/lib/swift-trainer\n"
        f"SWIFT_TRAINER_SWIFT_COMMAND={place.root}/opt/swift/bin/swift\nSWIFT_TRAINER_SWIFT_VERSION=4.6.0\n"
        "SWIFT_TRAINER_DEVICES=cpu:2\nSWIFT_TRAINER_NODE_ID=gpu-1\n"
    )
    path.write_text(path.read_text() + told + own)
    swift = place.root / "opt/swift/bin/swift"
    place.write(swift, f'#!/bin/sh\nexec {place.root}/opt/swift-trainer/bin/python '
                       f'{REPO}/tests/standin/swift_standin.py "$@"\n').chmod(0o755)  # fmt: skip


def make_things_to_train(place: Place) -> None:
    """A model for the stand-in and the page's job file about it."""
    make_model(place, "model", steps=5)
    (text,) = blocks("deploy-one-host.md", "yaml")
    (place.repo / "job.yaml").write_text(job_of(place, text, "model", "first"))


def make_model(place: Place, name: str, **steering: object) -> Path:
    """A model's folder that says what the stand-in does."""
    folder = place.root / "data" / name
    place.write(folder / "config.json", "{}")
    place.write(folder / "standin.json", json.dumps(steering))
    place.write(place.root / "data" / "train.jsonl", '{"messages": []}\n')
    return folder


def job_of(place: Place, text: str, model: str, output: str) -> str:
    """The page's job file for what is here."""
    text = text.replace("Qwen/Qwen2.5-0.5B-Instruct", f"{place.root}/data/{model}")
    text = text.replace('"AI-ModelScope/alpaca-gpt4-data-en#500"', f"{place.root}/data/train.jsonl")
    return text.replace("/data/out/first", f"{place.root}/data/out/{output}") + "logging_steps: 1\n"


def submitted(place: Place, model: str, output: str) -> str:
    """Id of a job that was queued."""
    (text,) = blocks("deploy-one-host.md", "yaml")
    file = place.write(place.root / f"{output}.yaml", job_of(place, text, model, output))
    return json.loads(place.run(f"swift-trainer submit {file} --start --json"))["job_id"]


def of_job(place: Place, job_id: str) -> dict[str, object]:
    """Its document."""
    return json.loads(place.run(f"swift-trainer show {job_id} --json"))


def as_operator(place: Place) -> dict[str, str]:
    """What replaces the page's address of the broker."""
    return {"localhost:5672": f"127.0.0.1:{place.port('rabbitmq')}"}


def number_of_starts(place: Place) -> int:
    """How often a daemon became ready."""
    return place.log().count("daemon_started")


async def restarted(place: Place, block: str, given: Mapping[str, str] | None = None) -> None:
    """Run a block that restarts the daemon, until it is ready again."""
    before = number_of_starts(place)
    place.run(block, given)
    await until(lambda: number_of_starts(place) > before)


@pytest.fixture
async def place(deployed: Place) -> Place:
    """The deployment, with a daemon that is ready and the operator's address in the environment."""
    await until(lambda: number_of_starts(deployed) > 0)
    if "SWIFT_TRAINER_AMQP_URL" not in deployed.env:
        deployed.run(blocks("deploy-one-host.md")[5], as_operator(deployed))
    return deployed


async def test_one_host(place: Place) -> None:
    *_, check, doctor, first, _containers = blocks("deploy-one-host.md")
    said = place.run(check)
    assert all(line.split()[1] == "ok" for line in said.splitlines()), said
    assert "node gpu-1" in place.run(doctor, as_operator(place))
    said = place.run(first)
    assert "export completed" in said
    assert f"{place.root}/data/model" in said


def test_one_host_in_containers(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.run(blocks("deploy-one-host.md")[-1])
    assert "=CHANGE_ME" not in (place.repo / "deploy/.env").read_text()
    made = json.loads((place.repo / "deploy/secrets/definitions.json").read_text())
    assert len(made["users"]) == 6


# ---------------------------------------------------------------- upgrade


async def test_an_upgrade_stops_no_training(place: Place) -> None:
    model = make_model(place, "long", steps=10, hold_at=4)
    job_id = submitted(place, "long", "upgraded")
    await until(lambda: of_job(place, job_id)["current_step"] == 4)
    before = of_job(place, job_id)
    raise_version(place)
    upgrade, look, *_ = blocks("upgrade.md")
    await restarted(place, upgrade)
    nodes = json.loads(place.run("swift-trainer nodes --json"))["nodes"]
    assert nodes[0]["versions"]["swift-trainer"] == NEW_VERSION
    assert job_id in place.run(look)
    assert of_job(place, job_id)["process_id"] == before["process_id"]
    (model / "go").touch()
    assert "export completed" in place.run(f"swift-trainer watch {job_id}")
    after = of_job(place, job_id)
    assert (after["status"], after["attempt"]) == ("completed", 1)
    events = [json.loads(line) for line in place.run(f"swift-trainer events {job_id} --json").splitlines()]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    *_, next_swift, drain = blocks("upgrade.md")
    await restarted(place, next_swift)
    place.run(drain, FOR_A_WHILE)


def raise_version(place: Place) -> None:
    """The scratch repository becomes a newer version's."""
    path = place.repo / "pyproject.toml"
    text = path.read_text()
    assert text.count('version = "0.1.0"') == 1
    path.write_text(text.replace('version = "0.1.0"', f'version = "{NEW_VERSION}"'))


# ---------------------------------------------------------------- backup


async def test_a_backup_comes_back(place: Place) -> None:
    made = make_model(place, "kept", steps=10, hold_at=4)
    ended, runs = submitted(place, "model", "ended"), submitted(place, "kept", "runs")
    place.run(f"swift-trainer watch {ended}")
    await until(lambda: of_job(place, runs)["current_step"] == 4)
    save, keep_state, bring_back, end_stray = blocks("backup-and-restore.md")
    assert "whole: " in place.run(save)
    (file,) = (place.root / "var/backups/swift-trainer").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    place.run(keep_state)
    (state,) = (place.root / "var/backups/swift-trainer").glob("state-*")
    with tarfile.open(state) as kept:
        assert f"./logs/llm_training_{ended}.log" in kept.getnames()
    before = of_job(place, ended)
    history = place.run(f"swift-trainer events {ended} --json")
    stray = submitted(place, "kept", "stray")
    await until(lambda: of_job(place, stray)["current_step"] == 4)
    process = of_job(place, stray)["process_id"]
    stop, *back = commands(bring_back)
    place.run(stop)
    assert Path(f"/proc/{process}").exists()
    refused = place.run(back[0], fails=True)
    assert "has commands, jobs, nodes, events" in refused
    with pymongo.MongoClient[dict[str, object]](f"mongodb://127.0.0.1:{place.port('mongod')}") as client:
        client.drop_database("swift_trainer")
    await restarted(place, "\n".join(back[:2]))
    assert ended in place.run(back[2])
    await until(lambda: "stray_run" in place.log())
    assert stray in place.log().rpartition("stray_run")[2]
    place.run(end_stray, {"=JOB": f"={stray}"})
    await until(lambda: not Path(f"/proc/{process}").exists())
    assert of_job(place, ended) == before
    assert place.run(f"swift-trainer events {ended} --json") == history
    (made / "go").touch()
    place.run(f"swift-trainer watch {runs}")
    after = of_job(place, runs)
    assert (after["status"], after["attempt"]) == ("completed", 1)
    events = [json.loads(line) for line in place.run(f"swift-trainer events {runs} --json").splitlines()]
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    body = json.dumps({"job_id": runs})
    points = json.loads(place.run(f"swift-trainer call job.metrics '{body}'"))["points"]
    assert [point["step"] for point in points] == list(range(1, 11))


# ---------------------------------------------------------------- troubleshooting


async def test_troubleshooting(place: Place) -> None:
    for block in blocks("troubleshooting.md"):
        place.run(block)
    told = json.loads((place.repo / "doctor.json").read_text())
    assert {finding["verdict"] for finding in told} <= {"ok", "note"}
    assert "swift-operator:" not in (place.repo / "jobs.json").read_text()


# ---------------------------------------------------------------- many hosts


async def test_many_hosts(place: Place) -> None:
    second_host(place)
    start, look, drain, forget = blocks("deploy-many-hosts.md")
    place.run(start, {"swift-trainer": "swift-trainer-2"})
    try:
        await until(lambda: "daemon_started" in place.log("swift-trainer-2"))
        said = place.run(look)
        assert "gpu-1" in said
        assert "node gpu-2" in said
        said = place.run(drain, FOR_A_WHILE)
        assert "starts nothing new" in said
        assert "resumed" in said
    finally:
        place.run("sudo systemctl stop swift-trainer-2")
    assert "forgotten" in place.run(forget)
    assert "gpu-2" not in place.run("swift-trainer nodes")


def second_host(place: Place) -> None:
    """The unit and the settings of another host, on this one."""
    folder = place.root / "etc"
    settings = (folder / "swift-trainer/swift-trainer.env").read_text()
    told = blocks("deploy-many-hosts.md", "ini")[0].splitlines()
    assert "SWIFT_TRAINER_NODE_ID=gpu-2" in told
    own = settings.replace("NODE_ID=gpu-1", "NODE_ID=gpu-2").replace(
        "var/lib/swift-trainer\n", "var/lib/swift-trainer-2\n"
    )
    place.write(folder / "swift-trainer-2/swift-trainer.env", own)
    unit = (folder / "systemd/system/swift-trainer.service").read_text()
    unit = unit.replace("/etc/swift-trainer/", "/etc/swift-trainer-2/").replace(
        "var/lib/swift-trainer", "var/lib/swift-trainer-2"
    )
    unit = unit.replace("StateDirectory=swift-trainer", "StateDirectory=swift-trainer-2")
    place.write(folder / "systemd/system/swift-trainer-2.service", unit)


# ---------------------------------------------------------------- notifications


async def test_notifications_as_a_service(place: Place) -> None:
    """The page's first block, with its rules, is tried in tests/notifier/test_how_to.py."""
    _begin, service = blocks("notifications.md")
    *install, start, reload = commands(service)
    place.run("\n".join(install))
    folder = place.root / "etc/swift-trainer"
    assert (folder / "notifier.env").stat().st_mode & 0o777 == 0o600
    model = make_model(place, "told", steps=3)
    url = f"amqp://swift-notifier:{place.secret('RABBITMQ_NOTIFIER_PASSWORD')}@127.0.0.1:{place.port('rabbitmq')}/"
    async with receiver() as chat:
        named = set(re.findall(r"\$\{(\w+)\}", (folder / "notifications.yaml").read_text()))
        assert {"CHAT_URL", "WEBHOOK_SECRET"} <= named
        given = {name: SECRET if name == "WEBHOOK_SECRET" else chat.apprise for name in named}
        lines = [f"{name}={value}" for name, value in {**given, "SWIFT_TRAINER_AMQP_URL": url}.items()]
        (folder / "notifier.env").write_text("\n".join(lines) + "\n")
        try:
            place.run(start)
            await until(lambda: "listening" in place.log("swift-trainer-notifier"))
            (folder / "notifications.yaml").write_text(
                'rules:\n  - name: told\n    when: {status: completed}\n    to: {apprise: "${CHAT_URL}"}\n'
            )
            place.run(reload)
            await until(lambda: "rules_read" in place.log("swift-trainer-notifier"))
            job_id = submitted(place, model.name, "told")
            await until(lambda: any(job_id[:8] in call.body.decode() for call in chat.calls))
        finally:
            place.run("sudo systemctl stop swift-trainer-notifier")


# ---------------------------------------------------------------- TLS and users


async def test_tls_and_users(place: Place) -> None:
    make, install, restart, client, gateway, tokens, users = blocks("tls-and-users.md")
    assert "server.pem: OK" in place.run(make, {"broker.example.org": "localhost"})
    place.run(install)
    port = listen_with_tls(place)
    place.run(restart)
    url = f"amqps://swift-operator:{place.secret('RABBITMQ_OPERATOR_PASSWORD')}@localhost:{port}/"
    plain = place.env["SWIFT_TRAINER_AMQP_URL"]
    try:
        said = place.run(client, {"amqps://swift-operator:...@broker.example.org:5671/": url})
        assert "gpu-1" in said
        with settings_changed(place, port):
            await restarted(place, "sudo systemctl restart swift-trainer")
            assert "gpu-1" in place.run("swift-trainer status")
            await refuses_what_is_not_right(place, url)
        place.run(users)
        say_what_each_user_may_do(place)
        await serves_who_has_a_token(place, gateway, tokens)
    finally:
        place.run("sudo systemctl stop swift-trainer-gateway")
        place.env["SWIFT_TRAINER_AMQP_URL"] = plain
        place.env.pop("SWIFT_TRAINER_AMQP_CA_FILE", None)
        await restarted(place, "sudo systemctl restart swift-trainer")


async def serves_who_has_a_token(place: Place, gateway: str, tokens: str) -> None:
    """The unit, with its own user's address of the broker, on a port that is free here."""
    *install, start = commands(gateway)
    place.run("\n".join(install))
    settings = place.root / "etc/swift-trainer/gateway.env"
    assert settings.stat().st_mode & 0o777 == 0o600
    broker = f"127.0.0.1:{place.port('rabbitmq')}"
    own = f"SWIFT_TRAINER_AMQP_URL=amqp://swift-gateway:{place.secret('RABBITMQ_GATEWAY_PASSWORD')}@{broker}/\n"
    port = services.free_port()
    settings.write_text(f"{own}SWIFT_TRAINER_GATEWAY_PORT={port}\n")
    place.run(start)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as http:

        async def status(path: str, **headers: str) -> int:
            try:
                return (await http.get(path, headers=headers)).status_code
            except httpx.TransportError:
                return 0

        async def is_ready() -> bool:
            return await status("/readyz") == 200

        await until(is_ready)
        assert await status("/training/all/jobs") == 200
        assert await status("/training/all/jobs", **{"X-Forwarded-For": "203.0.113.9"}) == 403, "a proxy needs tokens"
        path, *lines = commands(tokens)
        add, show, remove = (f"{path}\n{line}" for line in lines)
        token = place.run(add).strip()
        assert "alice" in place.run(show)
        assert await status("/training/all/jobs") == 401
        assert await status("/training/all/jobs", Authorization=f"Bearer {token}") == 200
        assert "removed alice" in place.run(remove)
        assert await status("/training/all/jobs", Authorization=f"Bearer {token}") == 401


def say_what_each_user_may_do(place: Place) -> None:
    """The page says that the doctor does."""
    may = {
        "publisher": ["order jobs"],
        "operator": ["order jobs", "order nodes", "follow events"],
        "gateway": ["order jobs", "order nodes", "follow events"],
    }
    for role, rights in may.items():
        url = f"amqp://swift-{role}:{place.secret(f'RABBITMQ_{role.upper()}_PASSWORD')}@127.0.0.1:{place.port('rabbitmq')}/"
        found = json.loads(place.run(f"swift-trainer doctor --json --url {url} || test $? -eq 1"))
        told = {finding["part"]: finding["verdict"] for finding in found}
        assert [part.removeprefix("may ") for part in told if part.startswith("may ") and told[part] == "ok"] == rights
    url = f"amqp://swift-subscriber:{place.secret('RABBITMQ_SUBSCRIBER_PASSWORD')}@127.0.0.1:{place.port('rabbitmq')}/"
    assert "may ask" in place.run(f"swift-trainer doctor --url {url}", fails=True)


def listen_with_tls(place: Place) -> int:
    """The page's lines in the broker's configuration, on a free port; plain AMQP stays, for the tests behind."""
    (told, _mongodb) = blocks("tls-and-users.md", "ini")
    port = services.free_port()
    for text, by in (
        ("listeners.ssl.default = 5671", f"listeners.ssl.1 = 127.0.0.1:{port}"),
        ("listeners.tcp = none\n", ""),
        ("/etc/rabbitmq", f"{place.root}/etc/rabbitmq"),
    ):
        assert text in told
        told = told.replace(text, by)
    place.write(place.root / "services/rabbitmq/extra.conf", told)
    return port


@contextmanager
def settings_changed(place: Place, port: int) -> Generator[None]:
    """The daemon's own settings with TLS, as the page says: the same two variables."""
    path = place.root / "etc/swift-trainer/swift-trainer.env"
    before = path.read_text()
    url = f"amqps://swift-daemon:{place.secret('RABBITMQ_DAEMON_PASSWORD')}@localhost:{port}/"
    own = f"SWIFT_TRAINER_AMQP_URL={url}\nSWIFT_TRAINER_AMQP_CA_FILE={place.root}/etc/swift-trainer/ca.pem\n"
    path.write_text(before + own)
    try:
        yield
    finally:
        path.write_text(before)


async def refuses_what_is_not_right(place: Place, url: str) -> None:
    """An authority that is not known, and a name that the certificate does not have: for a client, for the daemon."""
    ca = str(place.root / "etc/swift-trainer/ca.pem")
    place.run("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -keyout o.key -out o.pem -days 1")
    check, settings = blocks("deploy-one-host.md")[4], place.root / "etc/swift-trainer/swift-trainer.env"
    right = settings.read_text()
    for wrong_ca, wrong_url in ((str(place.repo / "o.pem"), url), (ca, url.replace("localhost", "127.0.0.1"))):
        with pytest.raises(BrokerAwayError, match=r"certificate verify failed.*SWIFT_TRAINER_AMQP_CA_FILE"):
            async with Client(wrong_url, ca_file=wrong_ca):
                pass
        told = f"SWIFT_TRAINER_AMQP_URL={wrong_url}\nSWIFT_TRAINER_AMQP_CA_FILE={wrong_ca}\n"
        settings.write_text(right + told)
        said = place.run(check, fails=True)
        assert re.search(r"^broker .*certificate verify failed", said, re.MULTILINE), said
        settings.write_text(right)
