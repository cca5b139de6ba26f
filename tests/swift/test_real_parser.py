"""The same argument vectors, read back by the real ms-swift's own parser: asked once, without training anything."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.swift.argv import export_argv, sft_argv
from daemon.swift.installed import Installed, options_of, table_for
from schemas.kinds import TrainingFields
from tests.swift.requests import llm, vlm

pytestmark = [pytest.mark.swift, pytest.mark.timeout(300)]

V4 = table_for("4.6.0")
SYSTEM = "Say \"hi\" 'there'\nand `id` $(id) --external_plugins /tmp/evil.py; -1 é🐦\\n"
ASK = """
import json, sys
from swift.arguments import ExportArguments, SftArguments
from transformers import HfArgumentParser
from swift.utils.utils import _patch_get_type_hints

PARSERS = {}
with _patch_get_type_hints():
    PARSERS = {"sft": HfArgumentParser([SftArguments]), "export": HfArgumentParser([ExportArguments])}
answers = []
for argv in json.load(sys.stdin):
    found, rest = PARSERS[argv[0]].parse_known_args(argv[1:])
    answers.append({"values": {name: value for name, value in vars(found).items()}, "rest": rest})
print("\\n" + json.dumps(answers, default=str))
"""
"""`parse_known_args` is what ms-swift's `parse_args` calls before it looks for models and folders."""

REQUESTS: dict[str, TrainingFields] = {
    "llm": llm(
        system=SYSTEM,
        datasets=["/d/a b.jsonl#5", "AI-ModelScope/x#500", "c'\"d"],
        val_datasets=["v.jsonl"],
        target_modules="q_proj v_proj",
        learning_rate=2.5e-7,
        split_dataset_ratio=0.05,
        model_type="qwen2",
        template="qwen2_5",
        extra_args={
            "packing": True, "max_steps": 20, "report_to": ["none"], "lr_scheduler_kwargs": '{"min_lr": 1e-6}',
            "reft_layers": [1, -2], "truncation_strategy": "delete", "loss_scale": "-odd", "interleave_prob": [0.5, 1],
        },
    ),
    "minus": llm(system="-- --packing true", eval_steps=0.1),
    "vlm": vlm(max_pixels=100352, deepspeed="zero2", external_plugins=["/p/a.py", "/p/b.py"], freeze_vit=False),
}  # fmt: skip
EXPORT = export_argv(
    checkpoint="/o/checkpoint-8", full=False, merge_lora=True, quant_method="gptq", quant_bits=4,
    output_dir="/o/checkpoint-8-gptq-int4", installed=V4, datasets=["a.jsonl#5", "b"],
)  # fmt: skip


@pytest.fixture(scope="module")
def answers(swift_command: str) -> dict[str, dict[str, Any]]:
    """What ms-swift reads of each argument vector."""
    argvs = {
        name: sft_argv(request, V4, run_dir="/o/v0-1", resume_from="/o/v0-1/checkpoint-8", use_cpu=True)
        for name, request in REQUESTS.items()
    }
    argvs["export"] = EXPORT
    done = subprocess.run(
        [str(Path(swift_command).with_name("python")), "-c", ASK],
        input=json.dumps(list(argvs.values())),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(argvs, json.loads(done.stdout.strip().splitlines()[-1]), strict=True))


def test_nothing_is_left_over(answers: dict[str, dict[str, Any]]) -> None:
    assert {name: answer["rest"] for name, answer in answers.items()} == {name: [] for name in answers}


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_the_fields_of_a_request_come_back(answers: dict[str, dict[str, Any]], name: str) -> None:
    request, found = REQUESTS[name], answers[name]["values"]
    expected = {
        "model": request.model_path,
        "tuner_type": "lora",
        "dataset": list(getattr(request, "dataset_values", ())),
        "torch_dtype": "bfloat16",
        "num_train_epochs": 1.0,
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "learning_rate": request.learning_rate,
        "lora_rank": request.lora_rank,
        "lora_alpha": 32.0,
        "target_modules": request.target_modules.split(),
        "gradient_accumulation_steps": request.gradient_accumulation_steps,
        "eval_steps": request.eval_steps,
        "save_steps": request.save_steps,
        "save_total_limit": 2,
        "logging_steps": 5,
        "max_length": request.max_length,
        "output_dir": "/o/v0-1",
        "add_version": False,
        "system": request.system,
        "warmup_ratio": 0.05,
        "dataloader_num_workers": 4,
        "model_author": ["swift"],
        "model_name": ["swift-robot"],
        "use_cpu": True,
        "callbacks": ["graceful_exit"],
        "resume_from_checkpoint": "/o/v0-1/checkpoint-8",
    }
    assert {option: found[option] for option in expected} == expected


def test_extra_args_come_back(answers: dict[str, dict[str, Any]]) -> None:
    found = answers["llm"]["values"]
    expected = REQUESTS["llm"].extra_args
    assert {option: found[option] for option in expected} == expected
    assert found["val_dataset"] == ["v.jsonl"]
    assert (found["split_dataset_ratio"], found["model_type"], found["template"]) == (0.05, "qwen2", "qwen2_5")


def test_a_hostile_value_sets_nothing_else(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["llm"]["values"]["external_plugins"] == []
    assert answers["minus"]["values"]["packing"] is False
    assert answers["minus"]["values"]["system"] == "-- --packing true"


def test_the_fields_of_a_vision_request_come_back(answers: dict[str, dict[str, Any]]) -> None:
    found = answers["vlm"]["values"]
    expected = {
        "vit_lr": 1e-5, "aligner_lr": 1e-5, "freeze_vit": False, "freeze_aligner": True, "freeze_llm": False,
        "dataset_num_proc": 4, "save_only_model": False, "max_pixels": 100352, "deepspeed": "zero2",
        "external_plugins": ["/p/a.py", "/p/b.py"], "dataset": ["/data/vl.jsonl"],
    }  # fmt: skip
    assert {option: found[option] for option in expected} == expected


def test_an_export_comes_back(answers: dict[str, dict[str, Any]]) -> None:
    found = answers["export"]["values"]
    expected = {
        "adapters": ["/o/checkpoint-8"], "merge_lora": True, "quant_method": "gptq", "quant_bits": 4,
        "dataset": ["a.jsonl#5", "b"], "output_dir": "/o/checkpoint-8-gptq-int4", "exist_ok": True,
    }  # fmt: skip
    assert {option: found[option] for option in expected} == expected


def test_the_shipped_table_is_what_the_probe_finds(swift_command: str) -> None:
    probe = Path(__file__).resolve().parents[2] / "daemon" / "adapters" / "swift_probe.py"
    python = str(Path(swift_command).with_name("python"))
    done = subprocess.run([python, str(probe)], capture_output=True, text=True, timeout=240, check=True)
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    found = Installed(answer["version"], options_of(answer["sft"]), frozenset(answer["export"]))
    shipped = table_for(found.version)
    if found.version != "4.6.0":
        pytest.skip(f"ms-swift {found.version} is installed; the shipped table is of 4.6.0")
    assert found.sft_options.keys() == shipped.sft_options.keys()
    assert {name for name, option in found.sft_options.items() if option.takes_many} == {
        name for name, option in shipped.sft_options.items() if option.takes_many
    }
    assert found.export_options == shipped.export_options


def test_the_probe_runs_under_a_bare_python() -> None:
    """It says what is missing, and fails on nothing of its own."""
    probe = Path(__file__).resolve().parents[2] / "daemon" / "adapters" / "swift_probe.py"
    done = subprocess.run([sys.executable, "-I", str(probe)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "ms-swift" in done.stderr
