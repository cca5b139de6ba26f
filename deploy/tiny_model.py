# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""A tiny random Qwen2 with a tokenizer, and data sets, made on the spot: for the demo and the tests. No hub.

Run with the Python of the ms-swift environment. Prints one line of JSON: the paths of `model`, `train`, `second`, `val`
and `long`. Does nothing where they are there already; the same seed makes the same files.
"""

import argparse
import json
import random
import sys
from pathlib import Path

TOPICS = ["rivers", "bread", "trains", "stars", "gardens", "clocks", "music", "bridges"]
VERBS = ["describe", "explain", "compare", "summarize"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ROWS = {"train": 128, "second": 64, "val": 16, "long": 2000}


def rows(count: int, seed: int) -> list[dict[str, list[dict[str, str]]]]:
    """Short conversations."""
    draw = random.Random(seed)  # noqa: S311  # repeatable data, no secrets
    made: list[dict[str, list[dict[str, str]]]] = []
    for number in range(count):
        topic, verb = draw.choice(TOPICS), draw.choice(VERBS)
        answer = " ".join(draw.choice(TOPICS) for _ in range(draw.randint(4, 12)))
        made.append(
            {
                "messages": [
                    {"role": "user", "content": f"Please {verb} {topic}, case {number}."},
                    {"role": "assistant", "content": f"About {topic}: {answer}."},
                ]
            }
        )
    return made


def make_data(folder: Path) -> None:
    """The data sets, one JSON line a row."""
    for seed, (name, count) in enumerate(ROWS.items()):
        lines = (json.dumps(row, ensure_ascii=False) for row in rows(count, seed))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_model(folder: Path) -> None:
    """A Qwen2 of 0.1 M parameters with a byte-level tokenizer that knows the chat tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2TokenizerFast

    torch.manual_seed(0)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    texts = [message["content"] for row in rows(64, 9) for message in row["messages"]]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=390, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    tokenizer = Qwen2TokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",  # noqa: S106  # no password
        pad_token="<|endoftext|>",  # noqa: S106
        unk_token=None,
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="folder for the model and the data sets")
    folder: Path = parser.parse_args().dir.absolute()
    model = folder / "tiny-qwen2"
    done = folder / ".complete"
    if not done.exists():
        model.mkdir(parents=True, exist_ok=True)
        make_data(folder)
        make_model(model)
        done.touch()
    paths = {"model": str(model), **{name: str(folder / f"{name}.jsonl") for name in ROWS}}
    sys.stdout.write(json.dumps(paths) + "\n")


if __name__ == "__main__":
    main()
