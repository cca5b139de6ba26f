"""Which checkpoint folders are complete on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Folder:
    """A `checkpoint-N` folder as it was found."""

    path: Path
    sizes: Mapping[str, int]
    """Bytes by file name."""
    texts: Mapping[str, str]
    """Contents of `trainer_state.json` and of the `*.index.json` files, where they are at most 16 MiB."""
    safetensors_bytes: Mapping[str, int]
    """For each `*.safetensors` file the size that its own header declares; 0 where the header can't be read."""
