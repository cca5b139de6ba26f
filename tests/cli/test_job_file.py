"""Job files: YAML and JSON mean the same, numbers are numbers, and a mistake says where it is."""

import pytest

from daemon.cli.job_file import UNKNOWN_FIELD, Body, JobFileError, check, read_job
from daemon.client import RefusedError
from schemas.enums import ReplyErrorCode
from schemas.replies import Fault


def read_request(text: str, settings: list[str] | None = None) -> Body:
    return read_job(text, settings or []).request


def test_json_is_read_as_it_is() -> None:
    assert read_request('{"learning_rate": 1e-4, "labels": {"a": "b"}, "x": [1, null, true]}') == {
        "learning_rate": 1e-4,
        "labels": {"a": "b"},
        "x": [1, None, True],
    }


def test_yaml_is_read_by_its_core_schema() -> None:
    text = "lr: 1e-4\ncountry: no\nnot_before: 2026-12-01T22:00:00Z\nzip: 010\nsmall: .5\ncount: -3\nnone: ~\nempty:\n"
    assert read_request(text) == {
        "lr": 1e-4,
        "country": "no",
        "not_before": "2026-12-01T22:00:00Z",
        "zip": "010",
        "small": 0.5,
        "count": -3,
        "none": None,
        "empty": None,
    }


def test_settings_go_over_the_file_with_dots() -> None:
    settings = ["lr=2e-4", "labels.team=a=b", "labels.new=yes", "extra_args.deep.er=[1, 2]", "datasets=[a, b]"]
    assert read_request("labels: {team: old}\n", settings) == {
        "learning_rate": 2e-4,
        "labels": {"team": "a=b", "new": "yes"},
        "extra_args": {"deep": {"er": [1, 2]}},
        "datasets": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("text", "settings", "said"),
    [
        ("- a\n", [], "one object"),
        ("", [], "one object"),
        ("a: [", [], "line 1"),
        ("b: 1\na: [{c: 1,\n c: 2}]\n", [], "line 3, column 2: c stands here twice"),
        ("a: &a [*a]\n", [], "contains itself"),
        ("[" * 5000, [], "nested too deep"),
        ("a: !!python/object/apply:os.system [ls]\n", [], "neither YAML nor JSON"),
        ("a: 1", ["b"], "--set b: give name=value"),
        ("a: 1", ["b..c=1"], "give name=value"),
        ("a: 1", ["a.b=1"], "a has a value of its own"),
        ("a: 1", ["b=[1"], "--set b"),
    ],
)
def test_a_mistake_is_told(text: str, settings: list[str], said: str) -> None:
    with pytest.raises(JobFileError) as error:
        read_request(text, settings)
    assert said in str(error.value)


FILE = """training_type: llm
model_path: m
datasets:
  - one
  - two
lora_rnk: 8
labels: {a: b,
  c: 3}
"""


@pytest.mark.parametrize(
    ("loc", "line"),
    [(("lora_rnk",), 6), (("datasets", 1), 5), (("labels", "c"), 8), (("labels", "x"), 7), (("output_dir",), None)],
)
def test_a_fault_is_found_in_the_file(loc: tuple[str | int, ...], line: int | None) -> None:
    assert read_job(FILE).line_of(loc) == line


def test_what_was_set_stands_in_no_line() -> None:
    found = read_job(FILE, ["datasets=[three]", "labels.c=4"])
    assert found.line_of(("datasets", 0)) is None
    assert found.line_of(("labels", "c")) == 7
    assert found.line_of(("labels", "a")) == 7


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lora_rnk", "lora_rnk: is not a field here; did you mean lora_rank?"),
        ("xyzzy", "xyzzy: is not a field here"),
        ("vit_lrr", "vit_lrr: is not a field here"),
    ],
)
def test_the_name_that_was_meant(name: str, said: str) -> None:
    assert read_job(FILE).said_of(Fault(loc=(name,), message=UNKNOWN_FIELD)) == said


WANTED = {"model_path": "m", "datasets": ["d"], "output_dir": "o"}


@pytest.mark.parametrize(
    ("request_", "locs", "said"),
    [
        ({"training_type": "llm", "lora_rnk": 8, **WANTED}, [("lora_rnk",)], f"lora_rnk: {UNKNOWN_FIELD}"),
        ({"training_type": "llm", "labels": {"a": 1}, **WANTED}, [("labels", "a")], "labels.a: "),
        ({"training_type": "llm", "model_path": "m"}, [("output_dir",), ("datasets",)], "output_dir: Field required"),
        ({"training_type": "abc", **WANTED}, [("training_type",)], "training_type: must be one of "),
        (WANTED, [("training_type",)], "training_type: Field required"),
    ],
)
def test_what_the_models_refuse_is_refused_here_as_by_the_daemon(
    request_: Body, locs: list[tuple[str, ...]], said: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        check(request_)
    assert refused.value.code is ReplyErrorCode.INVALID_REQUEST
    assert sorted(fault.loc for fault in refused.value.details) == sorted(locs)
    assert refused.value.message.startswith(said)


def test_what_the_models_take_is_left_to_the_daemon() -> None:
    check({"training_type": "llm", **WANTED})
