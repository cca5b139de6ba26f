"""Which checkpoint folders are complete on disk, which is the best, and from which a training can go on.

transformers writes `trainer_state.json` last, so its presence with the right step says that the rest was written; the
weights are checked against the sizes that their own headers declare, because a full disk or a kill can tear a file.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"^checkpoint-(\d+)$")
_WEIGHTS = re.compile(
    r"^(adapter_model|model|pytorch_model|model-\d+-of-\d+|pytorch_model-\d+-of-\d+|diffusion_pytorch_model)"
    r"\.(safetensors|bin)$"
)
_TUNER_FOLDERS = frozenset({"default", "reft"})
"""Where ms-swift's own tuners (`adapter`, `llamapro`, `reft`, …) put their weights."""
_INCOMPLETE = "checkpoint-is-incomplete.txt"
STATE = "trainer_state.json"
MIB = 1024 * 1024
OPTIMIZER = ("optimizer.pt", "optimizer.bin", "latest")
"""Where a checkpoint's optimizer state is; `latest` names DeepSpeed's folder."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A `checkpoint-N` folder as it was found."""

    path: Path
    sizes: Mapping[str, int]
    """Bytes by file name; folders are among them."""
    texts: Mapping[str, str]
    """Contents of `trainer_state.json` and of the `*.index.json` files, where they are at most 16 MiB."""
    safetensors_bytes: Mapping[str, int]
    """For each `*.safetensors` file the size that its own header declares; 0 where the header can't be read."""

    @property
    def size_mib(self) -> float:
        """Its files together, MiB."""
        return sum(self.sizes.values()) / MIB


def step_of(path: Path) -> int | None:
    """The N of `checkpoint-N`."""
    found = _NAME.match(path.name)
    return int(found[1]) if found else None


def is_complete(folder: Folder) -> bool:
    """Whether everything that ms-swift writes for this checkpoint is there, whole."""
    step = step_of(folder.path)
    if step is None or _INCOMPLETE in folder.sizes or _state(folder).get("global_step") != step:
        return False
    weights = [name for name in folder.sizes if _WEIGHTS.match(name)]
    if not (weights or _TUNER_FOLDERS & folder.sizes.keys()) or any(folder.sizes[name] == 0 for name in weights):
        return False
    if not _shards(folder) <= set(folder.sizes):
        return False
    return all(folder.sizes[name] == declared for name, declared in folder.safetensors_bytes.items())


def complete(folders: Iterable[Folder]) -> list[Folder]:
    """The complete ones, by step."""
    return sorted((folder for folder in folders if is_complete(folder)), key=lambda folder: step_of(folder.path) or 0)


def best_of(folders: Iterable[Folder]) -> str | None:
    """The best checkpoint by the newest state, where it is still among these folders."""
    ordered = sorted(folders, key=lambda folder: step_of(folder.path) or 0)
    if not ordered:
        return None
    best = _state(ordered[-1]).get("best_model_checkpoint")
    if not isinstance(best, str):
        return None
    return next((str(folder.path) for folder in ordered if folder.path.name == Path(best).name), None)


def resumable(folder: Folder) -> bool:
    """Whether a training can go on from it: `save_only_model` leaves no optimizer state."""
    return any(name in folder.sizes for name in OPTIMIZER)


def _state(folder: Folder) -> dict[str, object]:
    try:
        found: object = json.loads(folder.texts.get(STATE, ""))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _shards(folder: Folder) -> set[str]:
    """The weight files that the indexes name."""
    named: set[str] = set()
    for name, text in folder.texts.items():
        if not name.endswith(".index.json"):
            continue
        try:
            named.update(json.loads(text)["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"an index that can't be read"}
    return named
