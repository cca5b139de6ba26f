"""A tiny random Qwen2.5-VL with its processor, pictures and a data set about them, made on the spot. No hub.

Run with the Python of the ms-swift environment and `PYTHONPATH` set to the folder of `deploy/swift-vlm.sh`. Prints one
line of JSON: the paths of `model` and `data`, and the `rows` of the data set. Does nothing where they are there
already; the same seed makes the same files. The tokenizer is that of `tiny_model.py`, with the tokens of pictures at
the ids that they have in the real one: ms-swift has these ids built in, and puts one such token into a row for every
28 by 28 pixels of its picture.
"""

# This runs in the environment of ms-swift, which the daemon's type checker doesn't see.
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import argparse
import json
import sys
import tempfile
from pathlib import Path

import tiny_model

ROWS = 24
SIDE = 112
"""Width and height of a picture in pixels: 16 tokens for the language model, where nothing scales it down."""
COLOURS = {"red": (220, 40, 30), "green": (40, 180, 60), "blue": (30, 60, 210), "yellow": (230, 210, 40)}
FIRST_VISION_ID = 151_652
VISION_TOKENS = ["<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]


def make_data(folder: Path) -> None:
    """A picture of each colour, and questions about them, one JSON line a row."""
    from PIL import Image

    pictures: list[tuple[str, Path]] = []
    for name, rgb in COLOURS.items():
        path = folder / f"{name}.png"
        Image.new("RGB", (SIDE, SIDE), rgb).save(path)
        pictures.append((name, path))
    lines: list[str] = []
    for number in range(ROWS):
        name, path = pictures[number % len(pictures)]
        messages = [
            {"role": "user", "content": f"<image>Please describe picture {number}."},
            {"role": "assistant", "content": f"A {name} square."},
        ]
        lines.append(json.dumps({"messages": messages, "images": [str(path)]}))
    (folder / "pictures.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def widen(tokenizer: Path) -> None:
    """Give the tokens of pictures their ids, and all ids below them a name that no text has."""
    spec = json.loads(tokenizer.read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = spec["model"]["vocab"]
    vocabulary.update({f"<unused {number}>": number for number in range(len(vocabulary), FIRST_VISION_ID)})
    vocabulary.update({token: number for number, token in enumerate(VISION_TOKENS, FIRST_VISION_ID)})
    tokenizer.write_text(json.dumps(spec), encoding="utf-8")


def make_model(folder: Path) -> None:
    """A Qwen2.5-VL of two layers that read and two that see: 0.08 M parameters, and 2.4 M for the wide vocabulary."""
    import torch
    from transformers import (
        AutoTokenizer,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    with tempfile.TemporaryDirectory() as text_only:
        tiny_model.make_model(Path(text_only))
        widen(Path(text_only, "tokenizer.json"))
        tokenizer = AutoTokenizer.from_pretrained(text_only)
    template = tokenizer.chat_template
    tokenizer.add_special_tokens({"additional_special_tokens": VISION_TOKENS})
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=template,
    ).save_pretrained(folder)

    start, end, _, image, video = tokenizer.convert_tokens_to_ids(VISION_TOKENS)
    size = 16
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": size,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 4096,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]},
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"),
            "pad_token_id": tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": size,
            "fullatt_block_indexes": [1],
        },
        tie_word_embeddings=True,
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
        video_token_id=video,
    )
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="folder for the model, the pictures and the data set")
    folder: Path = parser.parse_args().dir.absolute()
    model = folder / "tiny-qwen2_5-vl"
    done = folder / ".complete-vlm"
    if not done.exists():
        model.mkdir(parents=True, exist_ok=True)
        make_data(folder)
        make_model(model)
        done.touch()
    paths = {"model": str(model), "data": str(folder / "pictures.jsonl"), "rows": ROWS}
    sys.stdout.write(json.dumps(paths) + "\n")


if __name__ == "__main__":
    main()
