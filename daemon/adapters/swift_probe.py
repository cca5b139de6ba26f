"""Asks an ms-swift what options it has. Run by the interpreter of its environment, so it imports nothing of ours.

Prints one line of JSON: `version`, and for `sft` and `export` the fields of ms-swift's own argument classes, each with
its declared type. 4.x: `swift.arguments`; 3.x: `swift.llm`. Takes about 5 s and 500 MB, mostly torch.
"""

import dataclasses
import importlib
import importlib.metadata
import json
import sys
from typing import Any, Dict, Tuple  # noqa: UP035  # runs under any Python that ms-swift runs under, 3.8 included


def fields_of(*names: Tuple[str, str]) -> Dict[str, str]:  # noqa: UP006
    """Field names and declared types of the first of these classes that there is; why there is none, in one line."""
    reasons: Dict[str, None] = {}  # noqa: UP006
    for module_name, class_name in names:
        try:
            found: Any = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            reasons[" ".join(str(error).split())] = None
            continue
        return {field.name: str(field.type) for field in dataclasses.fields(found) if field.init}
    raise SystemExit("; ".join(reasons))


if __name__ == "__main__":
    answer = {
        "version": importlib.metadata.version("ms-swift"),
        "sft": fields_of(("swift.arguments", "SftArguments"), ("swift.llm", "TrainArguments")),
        "export": fields_of(("swift.arguments", "ExportArguments"), ("swift.llm", "ExportArguments")),
    }
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
