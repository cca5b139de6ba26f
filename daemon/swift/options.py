"""The check of `extra_args` against the installed ms-swift's own options, before anything is spawned.

ms-swift takes 8 s to refuse an argument, and accepts abbreviations in silence; here the names are exact and the answer
comes with the request.
"""

import difflib
import re

from daemon.swift.argv import tuner_option
from daemon.swift.installed import Installed, Option
from schemas.kinds import ExtraValue, TrainingFields

FIELD_OF = {
    "model": "model_path",
    "tuner_type": "train_type",
    "train_type": "train_type",
    "dataset": "datasets",
    "torch_dtype": "torch_dtype",
    "num_train_epochs": "num_epochs",
    "per_device_train_batch_size": "batch_size",
    "per_device_eval_batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "lora_rank": "lora_rank",
    "lora_alpha": "lora_alpha",
    "target_modules": "target_modules",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "eval_steps": "eval_steps",
    "save_steps": "save_steps",
    "save_total_limit": "save_total_limit",
    "logging_steps": "logging_steps",
    "max_length": "max_length",
    "output_dir": "output_dir",
    "system": "system",
    "warmup_ratio": "warmup_ratio",
    "dataloader_num_workers": "dataloader_num_workers",
    "model_author": "model_author",
    "model_name": "model_name",
    "model_type": "model_type",
    "template": "template",
    "val_dataset": "val_datasets",
    "split_dataset_ratio": "split_dataset_ratio",
}
"""Options that a field of every request sets."""

VISION_FIELDS = (
    "vit_lr", "aligner_lr", "freeze_vit", "freeze_aligner", "freeze_llm", "max_pixels", "dataset_num_proc",
    "deepspeed", "external_plugins", "save_only_model",
)  # fmt: skip
"""Options that a VLM request's own fields set."""

NOT_FOR_REQUESTS = {
    "resume_from_checkpoint": "use job.resume, which goes on from the newest complete checkpoint",
    "push_to_hub": "publishing a model is not a training's business here",
}
RUNS_CODE = frozenset({"external_plugins", "custom_register_path"})

_LITERAL = re.compile(r"Literal\[(.*?)\]")
_CHOICE = re.compile(r"'([^']*)'|(-?\d+(?:\.\d+)?)")
Fault = tuple[str, str]


def check_extra_args(
    request: TrainingFields, installed: Installed, *, allow_external_plugins: bool = False
) -> list[Fault]:
    """(option, what is wrong) for every entry that this version of ms-swift or this daemon does not take."""
    taken = {name: name for name in VISION_FIELDS if name in type(request).model_fields} | FIELD_OF
    faults: list[Fault] = []
    for name, value in request.extra_args.items():
        message = _fault(name, value, installed, taken, allow_external_plugins=allow_external_plugins)
        if message is not None:
            faults.append((name, message))
    return faults


def _fault(
    name: str, value: ExtraValue, installed: Installed, taken: dict[str, str], *, allow_external_plugins: bool
) -> str | None:
    if name in taken:
        return f"is set by the field {taken[name]!r}; use that"
    if name in NOT_FOR_REQUESTS:
        return f"can't be set by a request: {NOT_FOR_REQUESTS[name]}"
    if name in RUNS_CODE and not allow_external_plugins:
        return "runs Python code; the operator has to allow it (SWIFT_TRAINER_ALLOW_EXTERNAL_PLUGINS)"
    option = installed.sft_options.get(name)
    if option is None:
        close = difflib.get_close_matches(name, [*installed.sft_options, tuner_option(installed)], n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        return f"ms-swift {installed.version} has no such option{hint}"
    return _wrong_value(option, value)


def _wrong_value(option: Option, value: ExtraValue) -> str | None:
    """What is wrong with a value for what the option declares; None where it may pass."""
    if isinstance(value, list):
        if not option.takes_many:
            return f"takes one value ({option.type_name}), not a list"
        return None if value else "must not be an empty list"
    if option.takes_many:
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value)
    declared = option.type_name
    literal = _LITERAL.search(declared)
    if literal is not None:
        choices = [quoted or number for quoted, number in _CHOICE.findall(literal[1])]
        return None if text in choices else f"must be one of {', '.join(choices)}"
    kinds = set(re.findall(r"bool|int|float|str|dict|Path", declared))
    if "str" in kinds or "dict" in kinds or "Path" in kinds or not kinds:
        return None
    if "bool" in kinds and text in {"true", "false"}:
        return None
    if "float" in kinds and _is_number(text):
        return None
    if "int" in kinds and re.fullmatch(r"-?\d+", text):
        return None
    return f"must be {' or '.join(sorted(kinds))}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
