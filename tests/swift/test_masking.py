"""Secrets are masked in whatever is shown, and ordinary words are left alone."""

import pytest

from daemon.core.masking import mask
from tests.swift.recordings import names, recording


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://guest:s3cret@h:5672/", "amqp://guest:***@h:5672/"),
        ("mongodb+srv://u:p%40w@h/db?x=1", "mongodb+srv://u:***@h/db?x=1"),
        ("redis://:pw@h", "redis://:***@h"),
        ("https://oauth2:abc@git/x.git", "https://oauth2:***@git/x.git"),
        ("https://0123456789abcdef0123456789@git/x.git", "https://***@git/x.git"),
        ("https://user@git/x", "https://user@git/x"),
        ("http://h:8080/a", "http://h:8080/a"),
        ("hf_AbCdEfGhIjKlMnOp", "***"),
        ("login hf_abcdefgh1 done", "login *** done"),
        ("transformers/hf_argparser.py", "transformers/hf_argparser.py"),
        ("ms-01234567-89ab-cdef-0123-456789abcdef", "***"),
        ("ms-swift 4.6.0", "ms-swift 4.6.0"),
        ("sk-abcdefghijklmnopqrst", "***"),
        ("ghp_" + "a1" * 15, "***"),
        ("github_pat_" + "a1" * 15, "***"),
        ("AKIAABCDEFGHIJKLMNOP", "***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.abc-_1", "***"),
        ("hub_token=abc,", "hub_token=***,"),
        ("'hub_token': 'abc'", "'hub_token': '***'"),
        ("HF_TOKEN: abc", "HF_TOKEN: ***"),
        ("--hub_token abc --x", "--hub_token *** --x"),
        ("--swanlab-secret=abc", "--swanlab-secret=***"),
        ("WANDB_API_KEY=0a1b", "WANDB_API_KEY=***"),
        ("aws_secret_access_key = a/b+c", "aws_secret_access_key = ***"),
        ('password: "hunter2"', 'password: "***"'),
        ("?password=a&x=1", "?password=***&x=1"),
        ("Authorization: Bearer abcdefghij", "Authorization: Bearer ***"),
        ("hub_token=None", "hub_token=None"),
        ("max_token: 5", "max_token: 5"),
        ("{'loss': '1', 'token_acc': '0.5'}", "{'loss': '1', 'token_acc': '0.5'}"),
        ('"eos_token": "<|im_end|>"', '"eos_token": "<|im_end|>"'),
        ("pad_token=<|endoftext|>", "pad_token=<|endoftext|>"),
        ("new_special_tokens=[]", "new_special_tokens=[]"),
        ("the key: value", "the key: value"),
        ("", ""),
    ],
)
def test_masks(text: str, shown: str) -> None:
    assert mask(text) == shown
    assert mask(shown) == shown


def test_of_real_logs_only_tokens_are_masked() -> None:
    changed = {
        line.text
        for name in names()
        for line in recording(name).lines()
        if mask(line.text) != line.text
        and not any(word in line.text for word in ("hub_token=", "swanlab_token=", "[--"))
    }
    assert changed == set()  # `[--hub_token HUB_TOKEN]` of a usage text is masked too, and no harm
