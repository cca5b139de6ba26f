"""Reading the rules file: what it means, and what is said of mistakes."""

from pathlib import Path

import pytest

from daemon.notifier.apprise_target import knows
from daemon.notifier.rules_file import RulesError, load, parse
from daemon.notifier.targets import WebhookDestination
from tests.notifier.samples import SECRET, knows_all, rules, rules_text, webhook

WORD = "s3cr3t-w0rd"


def test_a_whole_file() -> None:
    loaded = rules(
        f"""
language: zh
rules:
  - name: vision fails
    when:
      status: failed
      labels: {{team: "vision*", tier: [gold, silver]}}
      error_code: [out_of_memory]
    to:
      - apprise: "slack://${{TOKEN}}/x"
      - webhook:
          url: https://h.example:8443/a/${{TOKEN}}
          secret: ["${{NEW}}", "{SECRET}"]
          timeout_s: 2.5
          headers: {{X-Team: "vision ${{TOKEN}}"}}
    title: "{{job_id}} {{labels.team}}"
    not_more_often_than: 10m
  - name: nodes
    when: {{node_state: offline}}
    to: {{apprise: "slack://${{TOKEN}}/x"}}
    language: en
""",
        TOKEN=WORD,
        NEW=SECRET,
    )
    first, second = loaded.rules.rules
    assert first.not_more_often_than == 600
    assert first.when.labels == {"team": ("vision*",), "tier": ("gold", "silver")}
    assert (loaded.rules.language, second.language) == ("zh", "en")
    assert [to.shown for to in loaded.destinations.values()] == ["slack://***", "https://h.example:8443/***"]
    hook = list(loaded.destinations.values())[1]
    assert isinstance(hook, WebhookDestination)
    assert hook.url == f"https://h.example:8443/a/{WORD}"
    assert hook.headers == {"X-Team": f"vision {WORD}"}
    assert (len(hook.secrets), hook.timeout_s) == (2, 2.5)
    assert WORD not in repr(loaded)
    assert SECRET not in repr(loaded)


GOOD = webhook("https://h.example/x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the file: "),
        ("rules: []", "line 1: rules: "),
        ("rules:\n- 1", "line 2: rules[0]: "),
        ("a: b: c", "line 1: not YAML: "),
        ("rules: {", "not YAML: "),
        ("rules: [*x]", "not YAML: "),
        ("rules:\n\n  - name: a\n    when: {}\n    too: x\n    to: []\n", "line 5: rules[0].too: Extra inputs"),
        (rules_text(GOOD, when="{status: [failed, don]}"), "line 3: rules[0].when.status[1]: "),
        (rules_text(GOOD, when="{owner: 7}"), "line 3: rules[0].when.owner[0]: "),
        (rules_text(GOOD, when="{owner: a, owner: b}"), "line 3: owner stands here twice"),
        (rules_text(GOOD, when="{status: failed, export_status: failed}"), "line 3: rules[0].when: status and export"),
        (rules_text(GOOD, when="{node_state: offline, owner: x}"), "this can never hold"),
        (rules_text(GOOD, when="{node_state: offline, error_code: killed}"), "this can never hold"),
        (rules_text(GOOD, when="{status: completed, error_code: killed}"), "only a failed job has an error_code"),
        (rules_text(GOOD, when="{export_status: failed, error_code: killed}"), "this can never hold"),
        (rules_text(GOOD, more="    not_more_often_than: often\n"), "line 4: rules[0].not_more_often_than: give a num"),
        (rules_text(GOOD, more="    not_more_often_than: 10\n"), "as 10m"),
        (rules_text(GOOD, more="    not_more_often_than: 25h\n"), "at most 24h"),
        (rules_text(GOOD, more='    title: "{job_id.__class__}"\n'), "there is no {job_id.__class__}"),
        (rules_text(GOOD, more='    body: "{0}"\n'), "there is no {0}"),
        (rules_text(GOOD, more='    body: "{status"\n'), "a single {"),
        (rules_text(GOOD, more="    language: fr\n"), "line 4: rules[0].language: "),
        (rules_text("{}"), "line 5: rules[0].to[0]: give either apprise or webhook"),
        (rules_text('apprise: "nothing"'), "line 5: rules[0].to[0].apprise: Apprise does not understand this"),
        (rules_text('apprise: "nosuch://x"'), "Apprise does not understand this URL of nosuch://"),
        (rules_text('apprise: "slack://${ABSENT}"'), "the environment variable ABSENT is not set"),
        (rules_text(webhook("ftp://h/x")), "line 5: rules[0].to[0].webhook.url: give a URL that begins with https://"),
        (rules_text(webhook("https://[::1")), "not a URL"),
        (rules_text(webhook("https://h/a b")), "not a URL: it has characters"),
        (rules_text("webhook: {url: 'https://h', secret: x}"), "a signing secret begins with whsec_"),
        (rules_text("webhook: {url: 'https://h', secret: 'whsec_eA=='}"), "24 to 64 bytes, this one has 1"),
        (rules_text(webhook("https://h", ", timeout_s: 61")), "rules[0].to[0].webhook.timeout_s: "),
        (rules_text(webhook("https://h", ", headers: {Webhook-Id: x}")), "the header Webhook-Id is the notifier's own"),
        (rules_text(webhook("https://h", ", headers: {X: \"a\\r\\nb\"}")), "headers.X: a header's value is one line"),
        (rules_text(webhook("https://h"), webhook("https://h", ", timeout_s: 1")), "line 6: rules[0].to[1]: this addr"),
        (rules_text(GOOD) + rules_text(GOOD).removeprefix("rules:\n"), "two rules are called 'told'"),
        ("rules: {? [a] : b}", "a name must be a text"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_place(text: str, said: str) -> None:
    with pytest.raises(RulesError) as caught:
        parse(text, {"SECRET": SECRET}, knows)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value) or all(line.startswith("line ") for line in str(caught.value).splitlines())


def test_words_are_not_truth_values() -> None:
    loaded = rules(rules_text(GOOD, when='{labels: {a: no, b: "true", c: "1"}}'), SECRET=SECRET)
    assert loaded.rules.rules[0].when.labels == {"a": ("no",), "b": ("true",), "c": ("1",)}


def test_aliases_can_not_make_it_endless() -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    with pytest.raises(RulesError, match="more than 20000 values"):
        parse(laughs, {}, knows_all)
    with pytest.raises(RulesError):
        parse("rules: &a [*a]", {}, knows_all)
    with pytest.raises(RulesError):
        parse("[" * 100_000, {}, knows_all)


def test_an_error_names_the_file_and_repeats_no_value_of_it(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(rules_text(webhook(f"gopher://user:{WORD}@h/{WORD}"), more=f"    title: [{WORD}]\n"))
    with pytest.raises(RulesError) as caught:
        load(path, {"SECRET": SECRET}, knows_all)
    assert str(caught.value).startswith(f"{path}: line ")
    assert WORD not in str(caught.value)
    with pytest.raises(RulesError, match="can't be read"):
        load(tmp_path / "absent.yaml", {}, knows_all)
    path.write_bytes(b"\xff")
    with pytest.raises(RulesError, match="not UTF-8"):
        load(path, {}, knows_all)
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(RulesError, match="larger than"):
        load(path, {}, knows_all)


def test_a_targets_key_outlives_a_change_of_its_secret_and_time_limit() -> None:
    before = rules(rules_text(webhook("https://h/${P}")), SECRET=SECRET, P="a")
    after = rules(rules_text(webhook("https://h/${P}", ", timeout_s: 3")), SECRET="whsec_" + "B" * 32, P="b")
    assert list(before.destinations) == list(after.destinations)
    assert list(before.destinations.values()) != list(after.destinations.values())
