"""`swift-trainer notify --check` and `--test`, as a person types them."""

import json
from pathlib import Path

from tests.e2e.test_cli import trainer
from tests.notifier.receiver import Answer, receiver
from tests.notifier.samples import SECRET, rules_text, webhook, written

OWN = {"SECRET": SECRET, "TOKEN": "t0ken"}


async def test_a_file_is_checked_without_a_broker(tmp_path: Path) -> None:
    rules = written(tmp_path, rules_text(webhook("https://h.example/${TOKEN}"), 'apprise: "json://h/${TOKEN}"'))
    assert await trainer("notify", str(rules), "--check", settings=OWN) == (0, f"{rules}: ok, 1 rule, 2 targets\n", "")
    code, out, err = await trainer("notify", str(rules), "--check", settings={"SECRET": SECRET})
    assert (code, out) == (2, "")
    assert err == (
        f"swift-trainer: {rules}: line 5: rules[0].to[0].webhook.url: the environment variable TOKEN is not set\n"
    )
    assert (await trainer("notify", str(rules), "--check", "--test", settings=OWN))[0] == 2
    assert (await trainer("notify", str(tmp_path / "absent.yaml"), settings=OWN))[0] == 2


async def test_a_test_message_goes_to_each_target(tmp_path: Path) -> None:
    async with receiver() as program, receiver() as people, receiver(Answer(403)) as closed:
        text = rules_text(
            webhook(program.url),
            f'apprise: "{people.apprise}/${{TOKEN}}"',
            webhook(closed.url),
            when="{status: failed}",
        )
        rules = written(tmp_path, text)
        code, out, err = await trainer("notify", str(rules), "--test", settings=OWN)
        assert (code, err) == (1, "")
        assert out.splitlines() == [
            f"told -> http://127.0.0.1:{program.port}/***: told",
            "told -> json://***: told",
            f"told -> http://127.0.0.1:{closed.port}/***: HTTP 403",
        ]
        assert program.calls[0].json["data"]["status"] == "failed"
        assert program.calls[0].json["subject"] == "test"
        assert people.calls[0].json["type"] == "failure"
        closed.script.clear()
        code, out, _ = await trainer("notify", str(rules), "--test", "--json", settings=OWN)
        assert code == 0
        assert all(json.loads(line)["told"] for line in out.splitlines())


async def test_each_kind_of_rule_has_a_test_message(tmp_path: Path) -> None:
    async with receiver() as found:
        whens = {
            "a": "{}", "b": "{node_state: offline}", "c": "{export_status: failed}", "d": "{error_code: killed}",
            "e": "{owner: 'al*', labels: {team: v}, training_type: vlm}",
        }  # fmt: skip
        text = "".join(
            f"  - {{name: {name}, when: {when}, to: [{webhook(found.url)}]}}\n".replace(
                "[webhook", "[{webhook"
            ).replace("}]}", "}}]}")
            for name, when in whens.items()
        )
        rules = written(tmp_path, f"rules:\n{text}")
        code, out, err = await trainer("notify", str(rules), "--test", settings=OWN)
        assert code == 0, out + err
        assert [call.json["type"].split(".")[1] for call in found.calls] == ["job", "node", "job", "job", "job"]


async def test_no_broker_is_waited_for_and_said(tmp_path: Path) -> None:
    rules = written(tmp_path, rules_text(webhook("https://h.example/")))
    settings = {**OWN, "SWIFT_TRAINER_AMQP_URL": "amqp://guest:s3cr3t@127.0.0.1:1/"}
    code, _, err = await trainer("notify", str(rules), "--dry-run", settings=settings)
    assert code == 3
    assert "SWIFT_TRAINER_AMQP_URL" in err
    assert "s3cr3t" not in err
