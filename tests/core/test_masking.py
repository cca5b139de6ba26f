"""Secrets are masked in every shape in which ms-swift, torch and people write them; ordinary lines stay as they are."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.masking import MASK, mask

SHAPE = "a1B2c3D4e5F6g7H8i9J0k1L2"
TOKENS = [
    f"hf_{SHAPE}",
    f"ghp_{SHAPE}",
    f"github_pat_{SHAPE}",
    f"glpat-{SHAPE}",
    f"sk-proj-{SHAPE}",
    f"xoxb-{SHAPE}",
    f"nvapi-{SHAPE}",
    "ms-0a1b2c3d-0000-1111-2222-333344445555",
    "AKIAIOSFODNN7EXAMPLE",
    f"AIza{SHAPE}{SHAPE}",
    f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{SHAPE}",
]


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("around", ["{}", "found {} there", "login('{}')", "x={};"])
def test_known_shapes_of_tokens_are_masked_wherever_they_stand(token: str, around: str) -> None:
    assert SHAPE not in mask(around.format(token))
    assert token not in mask(around.format(token))
    assert MASK in mask(around.format(token))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("hub_token='geheim'", "hub_token='***'"),
        ('"api_key": "geheim"', '"api_key": "***"'),
        ("HF_TOKEN=geheim python x.py", "HF_TOKEN=*** python x.py"),
        ("password: geheim, user: bob", "password: ***, user: bob"),
        ("swift sft --hub_token geheim --model m", "swift sft --hub_token *** --model m"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer ***"),
        ("amqp://bob:geheim@host:5672/x", "amqp://bob:***@host:5672/x"),
        ("mongodb://bob:ge:heim@host", "mongodb://bob:***@host"),
        ("https://abcdefghijklmnopqrstuvwx@host/x", "https://***@host/x"),
    ],
)
def test_what_a_name_says_is_secret_is_masked(line: str, shown: str) -> None:
    assert mask(line) == shown


@pytest.mark.parametrize(
    "line",
    [
        "{'loss': '5.969', 'token_acc': '0.001', 'global_step/max_steps': '1/8'}",
        "hub_token=None,",
        "eos_token='<|im_end|>', pad_token='<|endoftext|>'",
        "tokenizer: Qwen2TokenizerFast(name_or_path='x')",
        "num_tokens: 1234",
        "max_tokens=512",
        "from transformers import hf_argparser",
        "see https://github.com/modelscope/ms-swift",
        "bob@example.org wrote to http://example.org",
        "",
    ],
)
def test_ordinary_lines_stay_as_they_are(line: str) -> None:
    assert mask(line) == line


@given(st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask(mask(text)) == mask(text)


@pytest.mark.parametrize(
    "piece", ["token", "token=", "hf_", "://", "://a:", "@://a:b", "--token ", "bearer ", "eyJ", "sk-", " =", "-"]
)
def test_a_hostile_line_costs_no_more_than_its_length(piece: str) -> None:
    line = piece * (65_536 // len(piece))
    began = time.process_time()
    mask(line)
    assert time.process_time() - began < 1.0
