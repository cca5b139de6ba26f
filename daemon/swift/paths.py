"""Which files and folders ms-swift would open for a request: what the check of the allowed roots has to look at.

ms-swift takes many values for a path if something of that name is there, whatever they look like: a data set's id
without its `hf::`, `:subset` and `#rows`, a system prompt that ends in `.txt`, JSON options. So each value comes with
all the readings that ms-swift tries; whoever can look at the disk decides which exist.
"""

from collections.abc import Iterator

from daemon.swift.option_rules import OPENED
from schemas.kinds import TrainingFields

Place = tuple[str | int, ...]
Readings = tuple[str, ...]


def opened_by(request: TrainingFields) -> Iterator[tuple[Place, Readings]]:
    """The values of a request that ms-swift may open, each with its place and all readings, but for `output_dir`."""
    yield ("model_path",), (request.model_path,)
    data_path = getattr(request, "data_path", None)
    if isinstance(data_path, str):
        yield ("data_path",), readings_of_dataset(data_path)
    for name in ("datasets", "val_datasets"):
        for index, value in enumerate(getattr(request, name, None) or ()):
            yield (name, index), readings_of_dataset(value)
    if request.system.endswith(".txt"):
        yield ("system",), (request.system,)
    deepspeed = getattr(request, "deepspeed", None)
    if isinstance(deepspeed, str):
        yield ("deepspeed",), (deepspeed,)
    for index, value in enumerate(getattr(request, "external_plugins", None) or ()):
        yield ("external_plugins", index), (value,)
    yield from _opened_by_options(request)


def _opened_by_options(request: TrainingFields) -> Iterator[tuple[Place, Readings]]:
    for name, value in request.extra_args.items():
        if name not in OPENED:
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and not item.startswith("{"):
                yield ("extra_args", name), (item,)


def readings_of_dataset(value: str) -> Readings:
    """A data set's value and what is left of it as ms-swift takes it apart: `hf::`, then `#rows`, then `:subset`.

    As there: the whole is tried first, the prefix may be any word, and each part is taken off only where the longer
    reading does not exist.
    """
    readings = [value]
    _, colons, behind = value.partition("::")
    plain = behind if colons else value
    readings.append(plain)
    other = plain.rpartition("#")[0] if "#" in plain else plain
    readings.append(other)
    readings.append(other.partition(":")[0])
    return tuple(dict.fromkeys(reading.strip() for reading in readings if reading.strip()))
