"""The check of `extra_args`: exact names, right types, and nothing that runs code or leaves the house unasked."""

from typing import Any

import pytest

from daemon.swift.installed import Installed, assumed, table_for
from daemon.swift.option_rules import FIELD_OF, NAMES_PATHS, OPENED, REFUSED, RUNS_CODE, VISION_FIELDS
from daemon.swift.options import check_extra_args
from schemas.kinds import TrainingFields
from tests.swift.requests import llm, vlm

V3, V4 = table_for("3.12.6"), table_for("4.6.0")


def fault(
    name: str, value: Any, request: TrainingFields | None = None, installed: Installed = V4, **options: Any
) -> str | None:
    """What is wrong with one entry."""
    base = request or llm()
    found = dict(check_extra_args(base.model_copy(update={"extra_args": {name: value}}), installed, **options))
    assert found.keys() <= {name}
    return found.get(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("packing", True),
        ("packing", "False"),
        ("max_steps", 10),
        ("max_steps", 10.0),
        ("weight_decay", 1),
        ("weight_decay", "1e-3"),
        ("optim", "adamw_torch"),
        ("truncation_strategy", "delete"),
        ("quant_bits", 4),
        ("quant_bits", "float8"),
        ("report_to", ["tensorboard", "wandb"]),
        ("report_to", "none"),
        ("interleave_prob", [0.5, 0.5]),
        ("reft_layers", [-1, 2]),
        ("lr_scheduler_kwargs", '{"min_lr": 1e-6}'),
        ("model_kwargs", '{"max_pixels": 1003520, "FPS": 2}'),
        ("attn_impl", "flash_attn"),
        ("callbacks", ["lisa"]),
        ("eval_strategy", "no"),
        ("deepspeed", "zero2"),
        ("resume_only_model", True),
        ("use_cpu", True),
        ("logging_dir", "/o/runs"),
        ("custom_dataset_info", ["/data/info.json"]),
    ],
)
def test_what_passes(name: str, value: Any) -> None:
    assert fault(name, value) is None


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("packin", True, "has no such option; did you mean packing"),
        ("Packing", True, "no such option"),
        ("zzz", 1, "ms-swift 4.6.0 has no such option"),
        ("train_type", "lora", "is set by the field 'train_type'"),
        ("lora_rank", 4, "is set by the field 'lora_rank'"),
        ("packing", "maybe", "must be bool"),
        ("packing", 2, "must be bool"),
        ("max_steps", "ten", "must be int"),
        ("max_steps", 0.5, "must be int"),
        ("max_steps", True, "must be int"),
        ("weight_decay", "x", "must be float"),
        ("weight_decay", "nan", "must be float"),
        ("truncation_strategy", "cut", "must be one of delete, left, right, split"),
        ("quant_bits", 5, "must be one of"),
        ("packing", [True], "takes one value"),
        ("report_to", [], "must not be an empty list"),
        ("interleave_prob", [0.5, "x"], "must be float"),
        ("interleave_prob", [0.5, -1e-5], "must not begin with '-'"),
        ("lr_scheduler_kwargs", '{"min_lr": ', "is no JSON object"),
        ("resume_from_checkpoint", "/o/checkpoint-8", "use job.resume"),
        ("push_to_hub", True, "publishing"),
        ("hub_model_id", "me/mine", "publishing"),
        ("trackio_space_id", "me/mine", "publishing"),
        ("swanlab_webhook_url", "https://x", "of the sender's choice"),
        ("use_ray", True, "the daemon launches"),
        ("local_rank", 0, "the daemon launches"),
        ("early_stop_interval", 3, "before its last step"),
        ("max_epochs", 3, "before its last step"),
        ("callbacks", "lisa early_stop", "before its last step"),
        ("create_checkpoint_symlink", True, "a resume"),
        ("external_plugins", ["/p.py"], "SWIFT_TRAINER_ALLOW_EXTERNAL_PLUGINS"),
        ("custom_register_path", ["/p.py"], "SWIFT_TRAINER_ALLOW_EXTERNAL_PLUGINS"),
        ("local_repo_path", "/p", "SWIFT_TRAINER_ALLOW_EXTERNAL_PLUGINS"),
        ("load_args", True, "SWIFT_TRAINER_ALLOW_EXTERNAL_PLUGINS"),
        ("attn_impl", "kernels-community/flash-attn", "SWIFT_TRAINER_ALLOW_EXTERNAL_PLUGINS"),
        ("model_kwargs", '{"PYTHONPATH": "/x"}', "'PYTHONPATH' would set an environment variable"),
        ("model_kwargs", '{"hf_token": "x"}', "would set an environment variable"),
        ("model_kwargs", "/x/kwargs.json", "must be a JSON object"),
        ("model_kwargs", "[1]", "must be a JSON object"),
    ],
)
def test_what_is_refused(name: str, value: Any, says: str) -> None:
    assert says in str(fault(name, value))


@pytest.mark.parametrize("name", sorted(RUNS_CODE.keys() & V4.sft_options.keys()))
def test_an_operator_can_allow_code(name: str) -> None:
    value: Any = ["/p.py"] if V4.sft_options[name].takes_many else "true"
    assert fault(name, value) is not None
    assert fault(name, value, allow_external_plugins=True) is None


def test_an_option_that_names_paths_is_refused_below_allowed_roots() -> None:
    assert "allowed roots" in str(fault("custom_dataset_info", ["/data/info.json"], confined=True))


def test_a_vision_request_has_fields_of_its_own() -> None:
    assert fault("max_pixels", 5) is None
    assert fault("max_pixels", 5, vlm()) == "is set by the field 'max_pixels'; use that"


def test_versions_have_their_own_options() -> None:
    assert fault("callbacks", ["lisa"], installed=V3) is not None
    assert fault("ckpt_dir", "/o", installed=V4, allow_external_plugins=True) is not None
    assert fault("ckpt_dir", "/o", installed=V3, allow_external_plugins=True) is None
    assert "(assumed, because it can't be asked)" in str(fault("zzz", 1, installed=assumed()))


def test_every_fault_names_its_option() -> None:
    request = llm(extra_args={"zzz": 1, "packing": True, "max_steps": "x"})
    assert [name for name, _ in check_extra_args(request, V4)] == ["zzz", "max_steps"]


def test_the_tables_speak_of_options_that_exist() -> None:
    known = V3.sft_options.keys() | V4.sft_options.keys()
    for table in (FIELD_OF, REFUSED, RUNS_CODE, NAMES_PATHS, OPENED, VISION_FIELDS):
        assert set(table) <= known, set(table) - known


def test_every_option_that_ms_swift_reads_a_dictionary_from_is_looked_at_as_a_path() -> None:
    dictionaries = {
        name for table in (V3, V4) for name, option in table.sft_options.items() if "dict" in option.type_name
    }
    assert dictionaries <= OPENED.keys()
