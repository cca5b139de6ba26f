"""The settings: the contract's names and defaults, from the environment and a `.env` file."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from daemon.settings import Settings, node_name, setting_faults


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting in the environment, no `.env` in the current folder."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SWIFT_TRAINER_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_contracts_defaults() -> None:
    found = Settings()
    assert found.amqp_url.get_secret_value() == "amqp://guest:guest@localhost:5672/"
    assert found.mongodb_url.get_secret_value() == "mongodb://localhost:27017"
    assert found.mongodb_database == "swift_trainer"
    assert found.state_path == Path.home() / ".local/state/swift-trainer"
    assert found.swift_command == "swift"
    assert found.devices == "auto"
    assert found.root_paths == ()
    assert found.work_path == Path.cwd()
    assert found.allow_external_plugins is False
    assert (found.stop_grace_seconds, found.lease_seconds) == (30, 30)
    assert found.log_path("llm", "j-1") == found.state_path / "logs" / "llm_training_j-1.log"


def test_a_dot_env_file_is_read_and_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("SWIFT_TRAINER_NODE_ID=from-file\nSWIFT_TRAINER_DEVICES=cpu:3\nOTHER=1\n")
    monkeypatch.setenv("SWIFT_TRAINER_NODE_ID", "from-environment")
    found = Settings()
    assert (found.node_id, found.devices) == ("from-environment", "cpu:3")


def test_secrets_are_not_in_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFT_TRAINER_AMQP_URL", "amqp://u:s3cret@host/")
    assert "s3cret" not in repr(Settings())


@pytest.mark.parametrize(
    ("name", "value"),
    [("NODE_ID", "a.b"), ("NODE_ID", ""), ("STOP_GRACE_SECONDS", "-1"), ("LOG_FORMAT", "xml"), ("POLL_SECONDS", "0")],
)
def test_a_bad_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SWIFT_TRAINER_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_a_node_is_not_lost_before_it_counts_as_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFT_TRAINER_LEASE_SECONDS", "60")
    monkeypatch.setenv("SWIFT_TRAINER_NODE_LOST_SECONDS", "59")
    with pytest.raises(ValidationError, match=r"NODE_LOST_SECONDS .59. must be 0 or at least .*LEASE_SECONDS .60."):
        Settings()
    monkeypatch.setenv("SWIFT_TRAINER_NODE_LOST_SECONDS", "60")
    assert Settings().node_lost_seconds == 60


@pytest.mark.parametrize(
    ("host", "node"), [("gpu-1", "gpu-1"), ("gpu1.lab.example", "gpu1-lab-example"), ("…", "node"), ("-a-", "a")]
)
def test_a_host_name_becomes_a_word_of_a_routing_key(host: str, node: str) -> None:
    assert node_name(host) == node


def test_owners_have_weights_and_quotas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFT_TRAINER_OWNER_WEIGHTS", '{"alice": 2, "*": 0.5}')
    monkeypatch.setenv("SWIFT_TRAINER_OWNER_QUOTAS", '{"alice": {"gpus": 8, "queued": 100}, "*": {"gpus": 2}}')
    shares = Settings().shares
    assert (shares.weight("alice"), shares.weight("bob")) == (2, 0.5)
    assert (shares.most_devices("alice"), shares.most_devices("bob")) == (8, 2)
    assert (shares.most_queued("alice"), shares.most_queued("bob")) == (100, None)


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("OWNER_QUOTAS", "alice=8", "must be a JSON object with a member per owner"),
        ("OWNER_QUOTAS", '{"alice": {"gpu": 8}}', "alice.gpu: Extra inputs are not permitted"),
        ("OWNER_QUOTAS", '{"alice": {"gpus": -1}}', "alice.gpus: Input should be greater than or equal to 0"),
        ("OWNER_QUOTAS", "[8]", "Input should be a valid dictionary"),
        ("OWNER_WEIGHTS", '{"alice": 0}', "alice: Input should be greater than 0"),
    ],
)
def test_a_bad_quota_is_refused_by_its_place(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, fault: str
) -> None:
    monkeypatch.setenv(f"SWIFT_TRAINER_{name}", value)
    with pytest.raises(ValidationError) as refused:
        Settings()
    (said,) = setting_faults(refused.value)
    assert said.startswith(f"SWIFT_TRAINER_{name}: ")
    assert fault in said
