"""What ms-swift would open for a request."""

from typing import Any

import pytest

from daemon.swift.paths import opened_by, readings_of_dataset
from tests.swift.requests import llm, vlm


@pytest.mark.parametrize(
    ("value", "readings"),
    [
        ("AI-ModelScope/alpaca#500", ("AI-ModelScope/alpaca#500", "AI-ModelScope/alpaca")),
        ("/d/a.jsonl", ("/d/a.jsonl",)),
        ("/d/a.jsonl#10", ("/d/a.jsonl#10", "/d/a.jsonl")),
        ("hf::/etc/data", ("hf::/etc/data", "/etc/data")),
        ("any::/etc/data:sub#3", ("any::/etc/data:sub#3", "/etc/data:sub#3", "/etc/data:sub", "/etc/data")),
        ("/d/dir:default/other", ("/d/dir:default/other", "/d/dir")),
        ("::x", ("::x", "x")),
        ("#3", ("#3",)),
    ],
)
def test_readings_of_a_data_set(value: str, readings: tuple[str, ...]) -> None:
    assert readings_of_dataset(value) == readings


def opened(request: Any) -> dict[Any, tuple[str, ...]]:
    return dict(opened_by(request))


def test_what_a_request_opens() -> None:
    found = opened(
        llm(
            system="/etc/secret.txt",
            val_datasets=["ms::/v"],
            extra_args={
                "deepspeed": "conf/ds.json", "columns": '{"a": "b"}', "adapters": ["/a", "b"], "optim": "adamw_torch",
                "new_special_tokens": ["tokens.txt"],
            },
        )
    )  # fmt: skip
    assert found[("system",)] == ("/etc/secret.txt",)
    assert found[("val_datasets", 0)] == ("ms::/v", "/v")
    assert found[("datasets", 1)] == ("AI-ModelScope/alpaca-gpt4-data-en#500", "AI-ModelScope/alpaca-gpt4-data-en")
    assert found[("extra_args", "deepspeed")] == ("conf/ds.json",)
    assert found[("extra_args", "new_special_tokens")] == ("tokens.txt",)
    assert not {("extra_args", "columns"), ("extra_args", "optim")} & found.keys()
    adapters = opened_by(llm(extra_args={"adapters": ["/a", "b"]}))
    assert [readings for place, readings in adapters if place[-1] == "adapters"] == [("/a",), ("b",)]
    assert ("system",) not in opened(llm())


def test_what_a_vision_request_opens() -> None:
    found = opened(vlm(deepspeed="zero2", external_plugins=["/p.py"]))
    assert found == {
        ("model_path",): ("Qwen/Qwen2.5-VL-7B-Instruct",),
        ("data_path",): ("/data/vl.jsonl",),
        ("deepspeed",): ("zero2",),
        ("external_plugins", 0): ("/p.py",),
    }
