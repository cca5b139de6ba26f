"""Job files: YAML and JSON mean the same, numbers are numbers, and a mistake says where it is."""

import pytest

from daemon.cli.job_file import JobFileError, read_request


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
        ("a: 1\na: 2\n", [], "a stands here twice"),
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
