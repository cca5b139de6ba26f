"""The create requests: what they take, what they refuse, and that a refusal names the field."""

import json

import pytest
from pydantic import ValidationError

from schemas.commands import COMMANDS
from schemas.kinds import CREATE_REQUEST, LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest
from schemas.kinds.common import TrainingFields
from schemas.replies import faults_of
from tests.schemas.bodies import LLM, VLM, Body, created, faults

SHARED: Body = {
    "gpu_id": None,
    "gpu_count": 1,
    "gpu_memory_mib": None,
    "gpu_name": None,
    "after": [],
    "after_policy": "success",
    "not_before": None,
    "num_epochs": 1,
    "batch_size": 1,
    "learning_rate": 1e-4,
    "lora_alpha": 32,
    "target_modules": "all-linear",
    "save_total_limit": 2,
    "logging_steps": 5,
    "warmup_ratio": 0.05,
    "dataloader_num_workers": 4,
    "torch_dtype": "bfloat16",
    "system": "You are a helpful assistant.",
    "model_author": "swift",
    "model_name": "swift-robot",
    "model_type": None,
    "template": None,
    "val_datasets": None,
    "split_dataset_ratio": None,
    "train_type": "lora",
    "priority": 0,
    "labels": {},
    "env": {},
    "extra_args": {},
    "auto_export": True,
    "max_retries": 0,
    "timeout_seconds": None,
    "start": False,
}
"""The contract's text, written by hand."""
LLM_DEFAULTS: Body = {
    "lora_rank": 8,
    "gradient_accumulation_steps": 16,
    "eval_steps": 50,
    "save_steps": 50,
    "max_length": 2048,
}
VLM_DEFAULTS: Body = {
    "lora_rank": 16,
    "gradient_accumulation_steps": 4,
    "eval_steps": 100,
    "save_steps": 100,
    "max_length": 8192,
    "datasets": None,
    "vit_lr": 1e-5,
    "aligner_lr": 1e-5,
    "freeze_vit": True,
    "freeze_aligner": True,
    "freeze_llm": False,
    "max_pixels": None,
    "dataset_num_proc": 4,
    "deepspeed": None,
    "external_plugins": None,
    "save_only_model": False,
}
"""The contract's table; it leaves the defaults of the switches to ms-swift, and these are its own."""


@pytest.mark.parametrize(
    ("base", "model", "own"),
    [(LLM, LLMTrainingJobCreateRequest, LLM_DEFAULTS), (VLM, VLMTrainingJobCreateRequest, VLM_DEFAULTS)],
    ids=["llm", "vlm"],
)
def test_defaults_are_those_of_the_contract(base: Body, model: type[TrainingFields], own: Body) -> None:
    request = created(base)
    assert type(request) is model
    expected = {**SHARED, **own, **base}
    got = request.model_dump(mode="json")
    assert got == expected
    assert {name: type(value) for name, value in got.items()} == {name: type(expected[name]) for name in got}


@pytest.mark.parametrize("base", [LLM, VLM], ids=["llm", "vlm"])
@pytest.mark.parametrize("field", ["model_path", "output_dir", "training_type"])
def test_a_missing_field_is_named(base: Body, field: str) -> None:
    body = {name: value for name, value in base.items() if name != field}
    with pytest.raises(ValidationError) as caught:
        COMMANDS["job.create"].validate_json(json.dumps(body))
    found = faults_of(caught.value, skip=0 if field == "training_type" else 1)
    assert [(fault.loc, fault.message) for fault in found] == [((field,), "Field required")]


@pytest.mark.parametrize("value", ["LLM", "text", None, 1, ["llm"], {}])
def test_an_unknown_kind_is_named(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        COMMANDS["job.create"].validate_json(json.dumps({**LLM, "training_type": value}))
    (fault,) = faults_of(caught.value)
    assert fault.loc == ("training_type",)
    assert "'llm', 'vlm'" in fault.message


@pytest.mark.parametrize("base", [LLM, VLM], ids=["llm", "vlm"])
def test_unknown_fields_are_refused_and_named(base: Body) -> None:
    found = faults(base, datases=["a"], learning_rat=1, internal={}, id="x", status="running")
    assert {fault.loc for fault in found} == {("datases",), ("learning_rat",), ("internal",), ("id",), ("status",)}
    assert {fault.message for fault in found} == {"is not a field here"}


@pytest.mark.parametrize("field", sorted(VLM_DEFAULTS.keys() - LLM_DEFAULTS.keys() - {"datasets"}))
def test_fields_of_the_other_kind_are_unknown(field: str) -> None:
    assert faults(LLM, **{field: None})[0].loc == (field,)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lora_rank", "8"),
        ("lora_rank", 8.0),
        ("lora_rank", True),
        ("lora_rank", None),
        ("num_epochs", "1"),
        ("num_epochs", True),
        ("learning_rate", "1e-4"),
        ("save_steps", "50"),
        ("warmup_ratio", "0.1"),
        ("auto_export", 1),
        ("auto_export", "true"),
        ("start", "yes"),
        ("model_path", 1),
        ("output_dir", ["o"]),
        ("datasets", "d"),
        ("datasets", {"0": "d"}),
        ("gpu_id", 0),
        ("gpu_id", [0]),
        ("gpu_count", "2"),
        ("priority", 1.0),
        ("labels", [["a", "b"]]),
        ("env", "A=1"),
        ("extra_args", ["a"]),
        ("timeout_seconds", "60"),
        ("gpu_memory_mib", "40000"),
        ("gpu_name", 100),
        ("after", "job-1"),
        ("after_policy", 1),
        ("not_before", 1_800_000_000),
    ],
)
def test_nothing_is_coerced(field: str, value: object) -> None:
    assert {fault.loc for fault in faults(**{field: value})} == {(field,)}


BOUNDS: dict[str, tuple[list[float], list[float]]] = {
    "gpu_count": ([1, 1024], [0, -1, 1025]),
    "gpu_memory_mib": ([1, 2**31 - 1], [0, -1, 2**31]),
    "num_epochs": ([0.01, 1, 100], [0, -1]),
    "batch_size": ([1, 2**31 - 1], [0, -1, 2**31]),
    "learning_rate": ([1e-12, 1], [0, -1e-4]),
    "lora_rank": ([1, 2**31 - 1], [0, 2**31]),
    "lora_alpha": ([1], [0, 2**31]),
    "gradient_accumulation_steps": ([1], [0, 2**31]),
    "eval_steps": ([0.1, 1, 2**31 - 1], [0, -1, 1.5, 2**31]),
    "save_steps": ([0.999, 1], [0, -0.1, 50.5]),
    "save_total_limit": ([1], [0]),
    "logging_steps": ([0.01, 5], [0, 2.5]),
    "max_length": ([1], [0]),
    "warmup_ratio": ([0, 0.05, 1], [-0.01, 1.01]),
    "dataloader_num_workers": ([0, 1024], [-1, 1025]),
    "split_dataset_ratio": ([0, 0.99], [-0.1, 1]),
    "priority": ([0, 10], [-1, 11]),
    "max_retries": ([0, 100], [-1, 101]),
    "timeout_seconds": ([0.5, 86_400], [0, -1]),
    "vit_lr": ([1e-9], [0, -1]),
    "aligner_lr": ([1e-9], [0, -1]),
    "max_pixels": ([1], [0]),
    "dataset_num_proc": ([1], [0]),
}


@pytest.mark.parametrize("field", BOUNDS)
def test_numbers_are_bounded(field: str) -> None:
    good, bad = BOUNDS[field]
    for value in good:
        assert getattr(created(VLM, **{field: value}), field) == value
    for value in bad:
        assert [fault.loc for fault in faults(VLM, **{field: value})] == [(field,)], value


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400])
@pytest.mark.parametrize("field", ["num_epochs", "learning_rate", "warmup_ratio", "save_steps", "timeout_seconds"])
def test_what_is_no_finite_number_is_refused(field: str, text: str) -> None:
    body = json.dumps(LLM)[:-1] + f', "{field}": {text}}}'
    with pytest.raises(ValidationError) as caught:
        CREATE_REQUEST.validate_json(body)
    (fault,) = faults_of(caught.value, skip=1)
    assert fault.loc == (field,)
    json.dumps(fault.model_dump(mode="json"), allow_nan=False)


@pytest.mark.parametrize("field", ["lora_rank", "batch_size", "priority", "gpu_count"])
def test_huge_integers_are_refused_in_few_words(field: str) -> None:
    (fault,) = faults(**{field: 10**3000})
    assert fault.loc == (field,)
    assert len(fault.model_dump_json()) < 300


# ---------------------------------------------------------------- words and paths

WORDS = ("model_path", "output_dir", "target_modules", "model_author", "model_name", "model_type", "template")


@pytest.mark.parametrize("field", WORDS)
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("--output_dir=/etc", "begin with '-'"),
        ("-x", "begin with '-'"),
        ("a\x00b", "control characters"),
        ("a\nb", "control characters"),
        ("a\x7f", "control characters"),
        (" a", "white space"),
        ("a ", "white space"),
        ("", "at least 1"),
        ("x" * 4097, "at most 4096"),
    ],
)
def test_words_are_one_line_and_no_options(field: str, value: str, says: str) -> None:
    (fault,) = faults(**{field: value})
    assert fault.loc == (field,)
    assert says in fault.message


@pytest.mark.parametrize(
    ("base", "field"), [(LLM, "datasets"), (LLM, "val_datasets"), (VLM, "external_plugins")], ids=str
)
def test_words_in_lists_are_checked_and_named_by_position(base: Body, field: str) -> None:
    assert faults(base, **{field: ["good", "--bad"]})[0].loc == (field, 1)
    nothing: list[str] = []
    assert faults(base, **{field: nothing})[0].loc == (field,)
    assert faults(base, **{field: ["d"] * 257})[0].loc == (field,)


@pytest.mark.parametrize("field", ["data_path", "deepspeed"])
def test_words_of_a_vlm_request_are_checked(field: str) -> None:
    assert faults(VLM, **{field: "--bad"})[0].loc == (field,)


def test_words_take_what_paths_and_ids_have() -> None:
    for value in ("/data/a b/日本語.jsonl#500", "Qwen/Qwen2.5-7B-Instruct", "./x,y;$(z)`'\"", "ms::ds:sub/a#10"):
        assert created(model_path=value, datasets=[value]).model_path == value


def test_no_target_module_becomes_an_option() -> None:
    assert created(target_modules="q_proj v_proj").target_modules == "q_proj v_proj"
    (fault,) = faults(target_modules="q_proj --external_plugins /tmp/x.py")
    assert fault.loc == ("target_modules",)
    assert "'-'" in fault.message


def test_the_system_prompt_is_free_text_without_nul() -> None:
    assert created(system="-- two\nlines\t and an emoji \U0001f600 --").system.startswith("--")
    assert created(system="").system == ""
    assert faults(system="a\x00b")[0].loc == ("system",)
    assert faults(system="x" * 65_537)[0].loc == ("system",)


@pytest.mark.parametrize("value", ["lora", "full", "dora", "custom", "a1_b"])
def test_any_tuner_name_is_taken(value: str) -> None:
    assert created(train_type=value).train_type == value


@pytest.mark.parametrize("value", ["", "--x", "LoRA", "a b", "a\n", "x" * 65])
def test_what_is_no_tuner_name_is_refused(value: str) -> None:
    assert faults(train_type=value)[0].loc == ("train_type",)


def test_types_of_weights_are_a_closed_list() -> None:
    assert faults(torch_dtype="int8")[0].loc == ("torch_dtype",)


# ---------------------------------------------------------------- data and devices


def test_a_vlm_request_has_exactly_one_source_of_data() -> None:
    one = {name: value for name, value in VLM.items() if name != "data_path"}
    assert created(VLM).dataset_values == ("d",)
    assert created(one, datasets=["a", "b"]).dataset_values == ("a", "b")
    assert created(LLM, datasets=["a", "b"]).dataset_values == ("a", "b")
    for body in (one, {**VLM, "datasets": ["a"]}):
        (fault,) = faults(body)
        assert fault.loc == ("datasets",)
        assert "data_path" in fault.message
    (fault,) = faults(one, data_path="--x")
    assert fault.loc == ("data_path",), "one mistake is one fault"


@pytest.mark.parametrize(("value", "indices"), [("0", (0,)), ("0,1", (0, 1)), ("7,3,12", (7, 3, 12))])
def test_devices_are_named_by_index(value: str, indices: tuple[int, ...]) -> None:
    request = created(gpu_id=value)
    assert request.pinned_devices == indices
    assert request.device_count == len(indices)


@pytest.mark.parametrize("value", ["", "a", "0,", ",0", "0, 1", "-1", "0;1", "0,0", "0,00", "0\n", "٣", "12345"])
def test_what_names_no_devices_is_refused(value: str) -> None:
    assert [fault.loc for fault in faults(gpu_id=value)] == [("gpu_id",)]


def test_count_and_indices_must_agree() -> None:
    assert created(gpu_count=4).device_count == 4
    assert created(gpu_count=4).pinned_devices == ()
    assert created(gpu_id="0,1", gpu_count=2).device_count == 2
    assert created(gpu_id="0,1", gpu_count=1).device_count == 2
    (fault,) = faults(gpu_id="0,1", gpu_count=3)
    assert fault.loc == ("gpu_count",)
    assert "names 2 devices" in fault.message


# ---------------------------------------------------------------- labels, env, extra_args


def test_labels_are_few_short_and_named_plainly() -> None:
    labels = {"team": "a", "a.b/c-d_e": "", "X1": "ü" * 256}
    assert created(labels=labels).labels == labels
    assert faults(labels={f"l{number}": "" for number in range(33)})[0].loc == ("labels",)
    for name in ("", "-a", ".a", "a b", "a\n", "a=b", "$x", "x" * 64):
        assert [fault.loc for fault in faults(labels={name: "v"})] == [("labels", name)], name
    for value in ("x" * 257, 1, None, "a\x00"):
        assert [fault.loc for fault in faults(labels={"a": value})] == [("labels", "a")], value


@pytest.mark.parametrize(
    "name",
    ["NCCL_DEBUG", "TORCH_NCCL_BLOCKING_WAIT", "GLOO_SOCKET_IFNAME", "OMP_NUM_THREADS", "MAX_PIXELS", "WANDB_MODE"],
)
def test_allowed_environment_names(name: str) -> None:
    assert created(env={name: "1"}).env == {name: "1"}


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "PATH",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "CUDA_VISIBLE_DEVICES",
        "MASTER_PORT",
        "SWIFT_TRAINER_JOB_ID",
        "HF_TOKEN",
        "WANDB_API_KEY",
        "NCCL_NET_PLUGIN",
        "NCCL_TUNER_PLUGIN",
        "NCCL_CONF_FILE",
        "NCCL_TOPO_DUMP_FILE",
        "NCCL_CUDA_PATH",
        "TORCH_NCCL_DEBUG_INFO_TEMP_FILE",
        "nccl_debug",
        "NCCL_DEBUG\n",
        "XNCCL_DEBUG",
        "",
    ],
)
def test_other_environment_names_are_refused(name: str) -> None:
    (fault,) = faults(env={name: "1"})
    assert fault.loc == ("env", name)
    assert repr(name) in fault.message


def test_environment_values_are_text_without_nul() -> None:
    for value in (1, None, "a\x00b", "x" * 4097):
        assert faults(env={"NCCL_DEBUG": value})[0].loc == ("env", "NCCL_DEBUG")


@pytest.mark.parametrize("value", [True, 5, -(2**63), 2**63 - 1, 0.5, "text", "-starts-with-dash", ["a", 1, False], []])
def test_extra_arguments_keep_their_type(value: object) -> None:
    got = created(extra_args={"some_option": value}).extra_args["some_option"]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("value", [None, {"a": 1}, 2**63, 10**400, "a\x00b", [["a"]], [None], [2**64], ["a\x00"]])
def test_other_extra_arguments_are_one_fault_each(value: object) -> None:
    (fault,) = faults(extra_args={"some_option": value})
    assert fault.loc == ("extra_args", "some_option")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "[1e999]"])
def test_extra_arguments_are_finite(text: str) -> None:
    with pytest.raises(ValidationError):
        CREATE_REQUEST.validate_json(json.dumps(LLM)[:-1] + f', "extra_args": {{"a": {text}}}}}')


@pytest.mark.parametrize("name", ["", "--a", "a-b", "A", "a b", "a=b", "a\n", "1a", "x" * 65])
def test_extra_argument_names_are_exact_option_names(name: str) -> None:
    assert [fault.loc for fault in faults(extra_args={name: 1})] == [("extra_args", name)]


@pytest.mark.parametrize("name", ["hub_token", "api_key", "token", "wandb_api_keys", "x_password"])
def test_extra_arguments_carry_no_secrets(name: str) -> None:
    (fault,) = faults(extra_args={name: "hf_secretsecret"})
    assert "carries a secret" in fault.message
    assert "hf_secretsecret" not in fault.model_dump_json()


@pytest.mark.parametrize("name", ["max_new_tokens", "average_tokens_across_devices", "tokenizer_path"])
def test_names_that_only_look_secret_are_taken(name: str) -> None:
    assert (name in created(extra_args={name: 1}).extra_args) is True


@pytest.mark.parametrize(
    ("field", "names"),
    [("labels", ("a b", "{c}")), ("env", ("LD_PRELOAD", "PATH")), ("extra_args", ("--a", "B"))],
)
def test_each_bad_name_is_a_fault_with_what_was_sent_there(field: str, names: tuple[str, str]) -> None:
    first, second = faults(**{field: {names[0]: "x", "MAX_PIXELS" if field == "env" else "fine": "z", names[1]: "y"}})
    assert (first.loc, first.input) == ((field, names[0]), "x")
    assert (second.loc, second.input) == ((field, names[1]), "y")


def test_a_secret_below_a_refused_name_does_not_come_back() -> None:
    (fault,) = faults(env={"HF_TOKEN": "hf_secretsecret"})
    assert (fault.loc, fault.input) == (("env", "HF_TOKEN"), "***")


def test_listed_extra_arguments_are_no_options_and_few() -> None:
    (fault,) = faults(extra_args={"callbacks": ["a", "--b"]})
    assert fault.loc == ("extra_args", "callbacks")
    assert faults(extra_args={f"o{number}": 1 for number in range(101)})[0].loc == ("extra_args",)


def test_every_fault_is_told_at_once() -> None:
    found = faults(lora_rank=0, num_epochs=-1, gpu_id="x", nonsense=1)
    assert {fault.loc for fault in found} == {("lora_rank",), ("num_epochs",), ("gpu_id",), ("nonsense",)}


@pytest.mark.parametrize("body", ["[]", "null", '"x"', "1"])
def test_a_body_is_an_object(body: str) -> None:
    with pytest.raises(ValidationError):
        CREATE_REQUEST.validate_json(body)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("gpu_name", ""),
        ("gpu_name", "H[12]00"),
        ("gpu_name", "H100\n"),
        ("gpu_name", "x" * 257),
        ("after_policy", "never"),
        ("after", ["a", "b", "a"]),
        ("after", [f"job-{number}" for number in range(101)]),
        ("not_before", "2026-12-01T22:00:00"),
        ("not_before", "tomorrow"),
        ("not_before", "1800000000"),
        ("not_before", "2026-02-30T00:00:00Z"),
        ("not_before", "9999-12-31T23:59:59-10:00"),
    ],
)
def test_what_says_when_and_where_to_start_is_checked(field: str, value: object) -> None:
    assert [fault.loc for fault in faults(**{field: value})] == [(field,)]


def test_jobs_that_come_before_are_named_by_place() -> None:
    assert [fault.loc for fault in faults(after=["a", "no id", "b", "-"])] == [("after", 1), ("after", 3)]


def test_a_start_time_of_any_offset_is_kept_as_utc() -> None:
    request = created(
        not_before="2026-12-01T22:00:00+02:00", gpu_name="*H100 ?0GB*", after=["a"], after_policy="always"
    )
    assert request.model_dump(mode="json")["not_before"] == "2026-12-01T20:00:00Z"
