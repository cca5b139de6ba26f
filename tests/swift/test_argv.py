"""Argument vectors: the template to the letter, and no value that ever becomes an option."""

import argparse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.swift.argv import export_argv, export_fault, export_output, sft_argv
from daemon.swift.installed import Installed, table_for
from daemon.swift.options import check_extra_args
from schemas.kinds import TrainingFields
from schemas.kinds.common import is_secret_name
from tests.swift.hf_parser import parse, parser_of
from tests.swift.requests import free_texts, llm, module_lists, vlm, words

V3, V4 = table_for("3.12.6"), table_for("4.6.0")
VERSIONS = {installed.version: installed for installed in (V3, V4)}
PARSERS = {version: parser_of(installed) for version, installed in VERSIONS.items()}
RUN_DIR = "/work/output/llm_test/v0-20261124-120000"


def build(request: TrainingFields, installed: Installed = V4, **options: Any) -> tuple[str, ...]:
    return sft_argv(request, installed, run_dir=RUN_DIR, **options)


def read(request: TrainingFields, installed: Installed = V4, **options: Any) -> dict[str, Any]:
    return parse(PARSERS[installed.version], build(request, installed, **options))


@pytest.mark.parametrize(("installed", "tuner"), [(V3, "--train_type"), (V4, "--tuner_type")])
def test_the_template(installed: Installed, tuner: str) -> None:
    argv = build(llm(), installed)
    template = (
        "sft",
        "--model", "Qwen/Qwen2.5-7B-Instruct",
        tuner, "lora",
        "--dataset", "AI-ModelScope/alpaca-gpt4-data-zh#500", "AI-ModelScope/alpaca-gpt4-data-en#500",
        "--torch_dtype", "bfloat16",
        "--num_train_epochs", "1",
        "--per_device_train_batch_size", "1",
        "--per_device_eval_batch_size", "1",
        "--learning_rate", "0.0001",
        "--lora_rank", "8",
        "--lora_alpha", "32",
        "--target_modules", "all-linear",
        "--gradient_accumulation_steps", "16",
        "--eval_steps", "50",
        "--save_steps", "50",
        "--save_total_limit", "2",
        "--logging_steps", "5",
        "--max_length", "2048",
        "--output_dir", RUN_DIR,
        "--add_version", "false",
        "--system", "You are a helpful assistant.",
        "--warmup_ratio", "0.05",
        "--dataloader_num_workers", "4",
        "--model_author", "swift",
        "--model_name", "swift-robot",
    )  # fmt: skip
    assert argv == (*template, *(("--callbacks", "graceful_exit") if installed is V4 else ()))


def test_the_options_of_a_vision_training() -> None:
    argv = build(
        vlm(max_pixels=100352, deepspeed="zero2", external_plugins=["/p/a.py", "/p/b.py"], freeze_vit=False), V4
    )
    at = argv.index("--vit_lr")
    assert argv[at : argv.index("--callbacks")] == (
        "--vit_lr", "1e-05",
        "--aligner_lr", "1e-05",
        "--freeze_vit", "false",
        "--freeze_aligner", "true",
        "--freeze_llm", "false",
        "--dataset_num_proc", "4",
        "--save_only_model", "false",
        "--max_pixels", "100352",
        "--deepspeed", "zero2",
        "--external_plugins", "/p/a.py", "/p/b.py",
    )  # fmt: skip
    assert argv[argv.index("--dataset") + 1] == "/data/vl.jsonl"


def test_optional_fields_are_options_only_where_they_are_given() -> None:
    assert not {"val_dataset", "split_dataset_ratio", "model_type", "template"} & read(llm()).keys()
    found = read(llm(val_datasets=["a.jsonl", "b"], split_dataset_ratio=0.1, model_type="qwen2", template="qwen2_5"))
    assert found["val_dataset"] == ["a.jsonl", "b"]
    assert (found["split_dataset_ratio"], found["model_type"], found["template"]) == (0.1, "qwen2", "qwen2_5")


def test_a_resume_names_its_checkpoint_in_the_same_folder() -> None:
    found = read(llm(), resume_from=f"{RUN_DIR}/checkpoint-30")
    assert found["resume_from_checkpoint"] == f"{RUN_DIR}/checkpoint-30"
    assert (found["output_dir"], found["add_version"]) == (RUN_DIR, False)


@pytest.mark.parametrize("installed", [V3, V4])
def test_a_node_without_cuda_trains_on_the_cpu(installed: Installed) -> None:
    assert "use_cpu" not in read(llm(), installed)
    assert read(llm(), installed, use_cpu=True)["use_cpu"] is True
    assert read(llm(extra_args={"use_cpu": False}), installed, use_cpu=True)["use_cpu"] is False


def test_a_version_without_the_option_is_not_given_it() -> None:
    options = {name: option for name, option in V4.sft_options.items() if name != "use_cpu"}
    assert "--use_cpu" not in build(llm(), Installed("4.9.0", options, V4.export_options), use_cpu=True)


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ({}, ["graceful_exit"]),
        ({"callbacks": "lisa"}, ["lisa", "graceful_exit"]),
        ({"callbacks": "lisa perf_log"}, ["lisa", "perf_log", "graceful_exit"]),
        ({"callbacks": ["graceful_exit", "lisa"]}, ["graceful_exit", "lisa"]),
    ],
)
def test_callbacks_of_the_request_stay_and_one_can_save_on_a_stop(asked: dict[str, Any], given: list[str]) -> None:
    assert read(llm(extra_args=asked))["callbacks"] == given


def test_extra_args_keep_their_types() -> None:
    extra = {
        "packing": True, "max_steps": 100, "weight_decay": 0.25, "optim": "adamw_torch", "report_to": ["none"],
        "loss_scale": "-odd", "lr_scheduler_kwargs": '{"min_lr": 1e-6}', "freeze_parameters": ["a", "b c", "d\ne"],
    }  # fmt: skip
    found = read(llm(extra_args=extra))
    assert {name: found[name] for name in extra} == extra


def test_the_request_can_not_move_its_run_folder() -> None:
    assert read(llm(extra_args={"add_version": True}))["add_version"] is False


def same(request: TrainingFields, found: dict[str, Any]) -> None:
    """What ms-swift reads is what was asked for."""
    assert found["model"] == request.model_path
    assert found["dataset"] == list(getattr(request, "dataset_values", ()))
    assert found["system"] == ("-- " if request.system == "--" else request.system)
    assert found["target_modules"] == request.target_modules.split()
    assert (found["model_author"], found["model_name"]) == ([request.model_author], [request.model_name])
    assert (found["learning_rate"], found["num_train_epochs"]) == (request.learning_rate, request.num_epochs)
    assert (found["eval_steps"], found["max_length"]) == (request.eval_steps, request.max_length)


def options_given(argv: tuple[str, ...]) -> list[str]:
    return [word.partition("=")[0] for word in argv if word.startswith("--")]


@given(
    version=st.sampled_from(sorted(VERSIONS)),
    model_path=words,
    datasets=st.lists(words, min_size=1, max_size=4),
    system=free_texts,
    names=st.tuples(words, words),
    target_modules=module_lists,
    val_datasets=st.none() | st.lists(words, min_size=1, max_size=3),
    learning_rate=st.floats(1e-12, 10),
    epochs=st.floats(0.01, 1e6),
)
def test_no_value_of_a_field_becomes_an_option(
    version: str,
    model_path: str,
    datasets: list[str],
    system: str,
    names: tuple[str, str],
    target_modules: str,
    val_datasets: list[str] | None,
    learning_rate: float,
    epochs: float,
) -> None:
    request = llm(
        model_path=model_path,
        datasets=datasets,
        system=system,
        model_author=names[0],
        model_name=names[1],
        target_modules=target_modules,
        val_datasets=val_datasets,
        learning_rate=learning_rate,
        num_epochs=epochs,
    )
    plain = llm(val_datasets=None if val_datasets is None else ["x"])
    installed = VERSIONS[version]
    argv = build(request, installed)
    same(request, parse(PARSERS[version], argv))
    assert options_given(argv) == options_given(build(plain, installed))


values = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | free_texts
    | st.lists(
        st.integers(-100, 100) | st.floats(-1e-3, 1e-3) | free_texts.map(lambda text: text.lstrip("-")), max_size=3
    )
)
"""What the schema lets through to the check."""


def extras_of(version: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Some of a version's options, each with any value."""
    open_names = [name for name in VERSIONS[version].sft_options if name.islower() and not is_secret_name(name)]
    return st.dictionaries(st.sampled_from(sorted(open_names)), values, max_size=3).map(lambda extra: (version, extra))


@given(st.sampled_from(sorted(VERSIONS)).flatmap(extras_of))
def test_no_value_of_extra_args_becomes_an_option(drawn: tuple[str, dict[str, Any]]) -> None:
    """Whatever passes the check is read back under its own name; and even what does not pass names no other option."""
    version, extra = drawn
    installed, request = VERSIONS[version], llm(extra_args=extra)
    argv = build(request, installed)
    known = {*options_given(build(llm(), installed)), *(f"--{name}" for name in extra)}
    assert set(options_given(argv)) <= known
    if check_extra_args(request, installed, allow_external_plugins=True):
        return
    try:
        found = parse(PARSERS[version], argv)
    except argparse.ArgumentError as error:
        raise AssertionError(f"{extra} passed the check: {error}") from None
    assert extra.keys() - {"callbacks"} <= found.keys()


def test_a_hostile_list_becomes_one_value() -> None:
    """The schema refuses it; if it came through all the same, it would still be one value."""
    request = llm().model_copy(update={"target_modules": "q_proj --external_plugins /tmp/evil.py"})
    argv = build(request)
    assert argv[argv.index("--lora_alpha") + 2] == "--target_modules=q_proj --external_plugins /tmp/evil.py"
    assert "external_plugins" not in parse(PARSERS["4.6.0"], argv)


def export(**fields: Any) -> tuple[str, ...]:
    given: dict[str, Any] = {
        "checkpoint": "/o/checkpoint-8", "full": False, "merge_lora": True, "quant_method": None, "quant_bits": None,
        "output_dir": "/o/exports/checkpoint-8-merged", "installed": V4, **fields,
    }  # fmt: skip
    return export_argv(**given)


def test_an_export_merges_an_adapter() -> None:
    assert export() == (
        "export", "--adapters", "/o/checkpoint-8", "--merge_lora", "true",
        "--output_dir", "/o/exports/checkpoint-8-merged", "--exist_ok", "true",
    )  # fmt: skip


def test_an_export_quantizes_with_the_data_of_the_job() -> None:
    argv = export(quant_method="gptq", quant_bits=4, datasets=["a.jsonl#10", "b"], merge_lora=False)
    assert argv[3:] == (
        "--merge_lora", "true", "--quant_method", "gptq", "--quant_bits", "4", "--dataset", "a.jsonl#10", "b",
        "--output_dir", "/o/exports/checkpoint-8-merged", "--exist_ok", "true",
    )  # fmt: skip
    assert "--dataset" not in export(quant_method="bnb", quant_bits=4, datasets=["a"])
    assert export(full=True, quant_method="bnb", quant_bits=8)[1:3] == ("--model", "/o/checkpoint-8")
    assert "--merge_lora" not in export(full=True, quant_method="bnb", quant_bits=8)


@pytest.mark.parametrize("installed", [V3, V4])
def test_the_options_of_an_export_are_those_that_the_version_has(installed: Installed) -> None:
    for quant_method in (None, "awq", "gptq", "bnb"):
        argv = export(installed=installed, quant_method=quant_method, quant_bits=4, datasets=["a"])
        assert {option.removeprefix("--") for option in options_given(argv)} <= installed.export_options


@pytest.mark.parametrize(
    ("full", "method", "field", "says"),
    [
        (False, None, None, None),
        (True, None, "merge_lora", "its checkpoint is the model"),
        (True, "bnb", None, None),
        (False, "bnb", None, None),
        (False, "gptq", "quant_method", "needs a data set"),
    ],
)
def test_what_can_not_be_exported_of_such_a_run_is_refused(
    full: bool, method: str | None, field: str | None, says: str | None
) -> None:
    fault = export_fault(full=full, quant_method=method)
    found, said = fault or (None, None)
    assert found == field
    assert says is said is None or str(says) in str(said)


def test_where_an_export_goes() -> None:
    assert export_output("/o/checkpoint-8/", True, None, None) == "/o/exports/checkpoint-8-merged"
    assert export_output("/o/checkpoint-8", True, "gptq", 4) == "/o/exports/checkpoint-8-gptq-int4"
    assert export_output("/o/checkpoint-8", True, "fp8", None) == "/o/exports/checkpoint-8-fp8"
