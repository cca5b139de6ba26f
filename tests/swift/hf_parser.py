"""ms-swift's command-line parser, rebuilt from the shipped tables as transformers' `HfArgumentParser` builds it.

So a test can read an argument vector back as ms-swift would, without the 5 s and 500 MB that the real one takes (which
`test_real_parser.py` asks).
"""

import argparse
import re
from typing import Any

from daemon.swift.installed import Installed, Option

_LITERAL = re.compile(r"Literal\[([^\]]*)\]")
_TRUE, _FALSE = {"yes", "true", "t", "y", "1"}, {"no", "false", "f", "n", "0"}


def _bool(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise argparse.ArgumentTypeError(f"{text} is no truth value")
    return text.lower() in _TRUE


def _item_type(kind: str) -> Any:
    if "int" in kind and "float" not in kind:
        return int
    return float if "float" in kind else str


def _settings(option: Option) -> dict[str, Any]:
    kind = option.type_name
    if option.takes_many:
        return {"nargs": "+", "type": _item_type(kind)}
    literal = _LITERAL.search(kind)
    if literal:
        return {"choices": [choice.strip("' ") for choice in literal[1].split(",")]}
    if kind in {"bool", "<class 'bool'>"}:
        return {"type": _bool, "nargs": "?", "const": True}
    if "bool" in kind and "str" not in kind:
        return {"type": _bool}
    if "str" in kind or "dict" in kind:
        return {"type": str}
    return {"type": _item_type(kind)}


def parser_of(installed: Installed) -> argparse.ArgumentParser:
    """The parser of `swift sft`."""
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=True)
    for name, option in installed.sft_options.items():
        flags = dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"])
        parser.add_argument(*flags, default=argparse.SUPPRESS, dest=name, **_settings(option))
        if option.type_name in {"bool", "<class 'bool'>"}:
            negated = dict.fromkeys([f"--no_{name}", f"--no-{name.replace('_', '-')}"])
            parser.add_argument(*negated, default=argparse.SUPPRESS, dest=name, action="store_false")
    return parser


def parse(parser: argparse.ArgumentParser, argv: tuple[str, ...]) -> dict[str, Any]:
    """What ms-swift gets of `sft …`: each option that is given with its value. Anything left over is an error."""
    assert argv[0] == "sft"
    found, rest = parser.parse_known_args(list(argv[1:]))
    assert rest == [], rest
    return vars(found)
