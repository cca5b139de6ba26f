"""Titles and texts of messages."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.notifier.events import MOST_BYTES, StrangeEventError, facts_of
from daemon.notifier.wording import (
    MOST_BODY,
    MOST_TITLE,
    NAMES,
    Language,
    Tone,
    filled,
    message_of,
    table_of,
    template_faults,
    tone_of,
)
from daemon.notifier.words import CHINESE
from schemas.enums import ErrorCode, ExportStatus, NodeState, TrainingStatus
from schemas.events import CloudEvent
from tests.notifier.samples import body_of, event, export_event, facts, node_event


def said(found: CloudEvent, language: Language = "en", **templates: str | None) -> tuple[str, str]:
    given = {"title": None, "body": None, **templates}
    return message_of(facts(found), rule="r", title=given["title"], body=given["body"], language=language)


FAILED = event(
    status="failed",
    error_code="out_of_memory",
    error_message="CUDA out of memory",
    exit_code=1,
    reason="as the log says",
)


def test_a_failure_in_english() -> None:
    title, body = said(FAILED)
    assert title == "Training a1b2c3d4 failed: out_of_memory"
    assert body.splitlines() == [
        "CUDA out of memory",
        "Reason: as the log says",
        "Exit code: 1",
        "Job: a1b2c3d4e5f6 (llm, attempt 1)",
        "Owner: alice",
        "Labels: run=7, team=vision",
        "Time: 2030-01-01 12:00:00 UTC",
    ]


def test_a_failure_in_chinese() -> None:
    title, body = said(FAILED, "zh")
    assert title == "训练任务 a1b2c3d4 失败：显存或内存不足"
    assert "原因：as the log says" in body
    assert "任务：a1b2c3d4e5f6（llm，第 1 次尝试）" in body


@pytest.mark.parametrize(
    ("found", "english", "chinese", "tone"),
    [
        (event(), "Training a1b2c3d4 is completed", "训练任务 a1b2c3d4：已完成", Tone.SUCCESS),
        (event(status="running"), "Training a1b2c3d4 is running", "训练任务 a1b2c3d4：运行中", Tone.INFO),
        (event(status="cancelled"), "Training a1b2c3d4 is cancelled", "训练任务 a1b2c3d4：已取消", Tone.WARNING),
        (export_event("failed"), "Export of training a1b2c3d4: failed", "训练任务 a1b2c3d4 的导出：失败", Tone.FAILURE),
        (node_event("offline"), "Node gpu-1 is offline", "节点 gpu-1：离线", Tone.FAILURE),
        (node_event("drained", devices=[0, 2]), "Node gpu-1 is drained", "节点 gpu-1：已停止接收新任务", Tone.WARNING),
    ],
)
def test_each_kind_of_event_has_its_words(found: CloudEvent, english: str, chinese: str, tone: Tone) -> None:
    assert said(found)[0] == english
    assert said(found, "zh")[0] == chinese
    assert tone_of(facts(found)) is tone


def test_devices_of_a_node_are_named() -> None:
    assert "Devices: 0, 2" in said(node_event("drained", devices=[0, 2]))[1]


def test_chinese_has_a_word_for_every_word_of_the_contract() -> None:
    for enum in (TrainingStatus, ExportStatus, NodeState, ErrorCode):
        assert {member.value for member in enum} <= set(CHINESE)


def test_templates_take_the_contracts_own_words_and_nothing_is_translated_in_them() -> None:
    title, body = said(
        FAILED, "zh", title="{status} {{x}} {labels.team}{labels.absent}", body="{owner}: {error_code}\n{rule}"
    )
    assert title == "failed {x} vision"
    assert body == "alice: out_of_memory\nr"


@settings(deadline=None)
@given(st.text(max_size=60))
def test_a_template_is_refused_or_filled_and_never_run(template: str) -> None:
    if not template_faults(template):
        table = table_of(facts(FAILED), "r")
        assert "__" not in filled(template, table) or "__" in template


@pytest.mark.parametrize(
    "template", ["{job_id!r}", "{job_id:>10}", "{job_id[0]}", "{labels.}", "{}", "{", "}", "{{}", "{ job_id }"]
)
def test_what_str_format_would_do_is_refused(template: str) -> None:
    assert template_faults(template)


def test_every_name_can_be_used() -> None:
    template = " ".join(f"{{{name}}}" for name in NAMES)
    assert not template_faults(template)
    for found in (FAILED, export_event("failed"), node_event("online")):
        filled(template, table_of(facts(found), "r"))


EVIL: dict[str, Any] = {
    "error_message": "<!channel> @everyone\r\n\x1b[31mSubject: x hf_ABCDEFGH1234567890 " + "x" * 10_000,
    "owner": "\u202eecila",
    "labels": {"a": "{job_id} @here", "b" * 500: "y" * 5000},
    "reason": "<@U123>",
}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_strangers_wrote_calls_nobody_and_forges_nothing(language: Language) -> None:
    title, body = said(event(status="failed", error_code="unknown", **EVIL), language, title="{error_message} {reason}")
    for text in (title, body):
        for call in ("@everyone", "@here", "<!", "<@", "\x1b", "\r", "\u202e", "hf_ABCDEFGH"):
            assert call not in text
    assert "\n" not in title
    assert len(title) <= MOST_TITLE
    assert len(body) <= MOST_BODY
    assert "{job_id}" in body, "a value is not a template"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"\xff", b'{"id": 1}', b" " * (MOST_BYTES + 1),
        body_of(event()).replace(b"completed", b"flying"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_event_are_told_from_events(body: bytes) -> None:
    with pytest.raises(StrangeEventError):
        facts_of(body)


def test_other_types_concern_nobody() -> None:
    assert facts_of(body_of(event("swift.job.checkpoint.v1", event_id="c", path="/x", step=1))) is None
    assert facts_of(body_of(event("swift.new.thing.v7", event_id="n"))) is None
