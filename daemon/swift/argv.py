"""The argument vectors of `swift sft` and `swift export`, for ms-swift 3.x and 4.x.

Every value is an argument of its own and no shell ever sees it. A value that begins with `-` is joined to its option
with `=`, so that it can't become an option itself. Of a list only the first value can be joined so, and a second one
that looks like an option has no form that ms-swift's parser takes: such a list becomes one joined value, which ms-swift
then refuses by name.
"""

import re
from collections.abc import Iterable, Sequence

from daemon.swift.installed import Installed
from schemas.kinds import ExtraValue, TrainingFields, VLMFields

GRACEFUL_EXIT = "graceful_exit"
NEEDS_DATA = frozenset({"awq", "gptq", "gptq_v2"})
MERGEABLE = frozenset({"lora", "dora", "adalora", "longlora", "lora_ga"})
"""Tuners whose adapter can be merged into the model; after the others there is nothing to export."""
EXPORTS = "exports"

_NEGATIVE = re.compile(r"-\d+\Z|-\d*\.\d+\Z")
"""argparse's own idea of a negative number."""

Value = str | int | float | bool
Options = list[tuple[str, Value | Sequence[Value]]]


def sft_argv(
    request: TrainingFields,
    installed: Installed,
    *,
    run_dir: str,
    resume_from: str | None = None,
    use_cpu: bool = False,
) -> tuple[str, ...]:
    """`sft` and its options, in the order of the template, for a run in `run_dir`.

    The daemon has chosen the versioned folder, so ms-swift is told to use it as it is (`--add_version false`); that is
    what keeps a resumed or retried run in the same folder. On 4.x `graceful_exit` lets a stop save a checkpoint. With
    `use_cpu` the node has no CUDA: without `--use_cpu true` ms-swift would refuse bfloat16 there.
    """
    options = _template(request, installed, run_dir)
    if isinstance(request, VLMFields):
        options += _vision(request)
    options += _optional(request)
    extra = dict(request.extra_args)
    extra.pop("add_version", None)
    if use_cpu and "use_cpu" in installed.sft_options:
        extra.setdefault("use_cpu", True)
    callbacks = _callbacks(extra.pop("callbacks", None), installed)
    options += sorted(extra.items())
    if callbacks:
        options.append(("callbacks", callbacks))
    if resume_from is not None:
        options.append(("resume_from_checkpoint", resume_from))
    return ("sft", *_rendered(options))


def _template(request: TrainingFields, installed: Installed, run_dir: str) -> Options:
    """The seed's template."""
    return [
        ("model", request.model_path),
        (tuner_option(installed), request.train_type),
        ("dataset", datasets_of(request)),
        ("torch_dtype", request.torch_dtype),
        ("num_train_epochs", request.num_epochs),
        ("per_device_train_batch_size", request.batch_size),
        ("per_device_eval_batch_size", request.batch_size),
        ("learning_rate", request.learning_rate),
        ("lora_rank", request.lora_rank),
        ("lora_alpha", request.lora_alpha),
        ("target_modules", request.target_modules.split()),
        ("gradient_accumulation_steps", request.gradient_accumulation_steps),
        ("eval_steps", request.eval_steps),
        ("save_steps", request.save_steps),
        ("save_total_limit", request.save_total_limit),
        ("logging_steps", request.logging_steps),
        ("max_length", request.max_length),
        ("output_dir", run_dir),
        ("add_version", False),
        ("system", request.system),
        ("warmup_ratio", request.warmup_ratio),
        ("dataloader_num_workers", request.dataloader_num_workers),
        ("model_author", request.model_author),
        ("model_name", request.model_name),
    ]


def _vision(request: VLMFields) -> Options:
    options: Options = [
        ("vit_lr", request.vit_lr),
        ("aligner_lr", request.aligner_lr),
        ("freeze_vit", request.freeze_vit),
        ("freeze_aligner", request.freeze_aligner),
        ("freeze_llm", request.freeze_llm),
        ("dataset_num_proc", request.dataset_num_proc),
        ("save_only_model", request.save_only_model),
    ]
    if request.max_pixels is not None:
        options.append(("max_pixels", request.max_pixels))
    if request.deepspeed is not None:
        options.append(("deepspeed", request.deepspeed))
    if request.external_plugins is not None:
        options.append(("external_plugins", request.external_plugins))
    return options


def _optional(request: TrainingFields) -> Options:
    given = (
        ("model_type", request.model_type),
        ("template", request.template),
        ("val_dataset", request.val_datasets),
        ("split_dataset_ratio", request.split_dataset_ratio),
    )
    return [(name, value) for name, value in given if value is not None]


def _callbacks(asked: ExtraValue | None, installed: Installed) -> list[Value]:
    """The request's callbacks, and the one that saves on a stop where this version has it."""
    names: list[Value] = []
    if isinstance(asked, list):
        names += [str(name) for name in asked]
    elif asked is not None:
        names += str(asked).split()
    can_save = installed.major >= 4 and "callbacks" in installed.sft_options
    return [*names, GRACEFUL_EXIT] if can_save and GRACEFUL_EXIT not in names else names


def tuner_option(installed: Installed) -> str:
    """4.x says `tuner_type` and refuses `train_type`; 3.x the other way round."""
    return "tuner_type" if installed.major >= 4 else "train_type"


def datasets_of(request: TrainingFields) -> tuple[str, ...]:
    """The values of `--dataset`."""
    values: tuple[str, ...] = getattr(request, "dataset_values", ())
    return values


def export_argv(
    *,
    checkpoint: str,
    full: bool,
    merge_lora: bool,
    quant_method: str | None,
    quant_bits: int | None,
    output_dir: str,
    installed: Installed,
    datasets: Sequence[str] = (),
) -> tuple[str, ...]:
    """`export` and its options. Quantizing an adapter merges it first, because only a whole model can be quantized.

    `exist_ok` keeps ms-swift from refusing an existing folder, but it does not write one anew: a merge into a folder
    that is there is skipped and still ends with code 0. So the folder has to be removed before.
    """
    options: Options = [("model" if full else "adapters", checkpoint)]
    if not full:
        options.append(("merge_lora", merge_lora or quant_method is not None))
    if quant_method is not None:
        options.append(("quant_method", quant_method))
        if quant_bits is not None:
            options.append(("quant_bits", quant_bits))
        if quant_method in NEEDS_DATA and datasets:
            options.append(("dataset", datasets))
    options.append(("output_dir", output_dir))
    if "exist_ok" in installed.export_options:
        options.append(("exist_ok", True))
    return ("export", *_rendered(options))


def export_fault(*, full: bool, quant_method: str | None, datasets: Sequence[str] = ()) -> tuple[str, str] | None:
    """The field for which ms-swift would export nothing of such a run, and why; None where it can."""
    if quant_method is None and full:
        return "merge_lora", "the run trained all parameters: its checkpoint is the model, with nothing to merge"
    if quant_method in NEEDS_DATA and not datasets:
        return "quant_method", f"quant_method {quant_method!r} needs a data set to calibrate with"
    return None


def export_output(checkpoint: str, merge_lora: bool, quant_method: str | None, quant_bits: int | None) -> str:
    """Where an export goes: the name that ms-swift would give it, in a folder beside the checkpoints. Right among them
    `save_total_limit` would count it as a checkpoint, and the next attempt would remove it."""
    if quant_method is not None:
        suffix = quant_method + (f"-int{quant_bits}" if quant_bits is not None else "")
    else:
        suffix = "merged" if merge_lora else "peft"
    folder, _, name = checkpoint.rstrip("/").rpartition("/")
    return f"{folder}/{EXPORTS}/{name}-{suffix}"


def _rendered(options: Options) -> Iterable[str]:
    for name, value in options:
        if isinstance(value, str | int | float):
            yield from _single(name, render(value))
        else:
            yield from _several(name, [render(item) for item in value])


def _single(name: str, text: str) -> tuple[str, ...]:
    if text == "--":
        text = "-- "  # argparse drops an argument that is exactly this, even behind a `=`
    return (f"--{name}={text}",) if text.startswith("-") else (f"--{name}", text)


def _several(name: str, texts: Sequence[str]) -> tuple[str, ...]:
    if len(texts) == 1:
        return _single(name, texts[0])
    if any(looks_like_option(text) for text in texts):
        return (f"--{name}={' '.join(texts)}",)
    return (f"--{name}", *texts)


def looks_like_option(text: str) -> bool:
    """Whether argparse would take a value in a list for an option; `-1` and `-0.5` are numbers to it."""
    return text.startswith("-") and _NEGATIVE.match(text) is None


def render(value: Value) -> str:
    """A value as ms-swift's parser reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value if isinstance(value, str) else repr(value)
