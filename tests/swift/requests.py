"""Requests for tests, and how hypothesis draws them."""

from typing import Any

from hypothesis import strategies as st

from schemas.kinds import LLMTrainingJobCreateRequest, VLMTrainingJobCreateRequest

LLM: dict[str, Any] = {
    "training_type": "llm",
    "model_path": "Qwen/Qwen2.5-7B-Instruct",
    "datasets": ["AI-ModelScope/alpaca-gpt4-data-zh#500", "AI-ModelScope/alpaca-gpt4-data-en#500"],
    "output_dir": "output/llm_test",
}
VLM: dict[str, Any] = {
    "training_type": "vlm",
    "model_path": "Qwen/Qwen2.5-VL-7B-Instruct",
    "data_path": "/data/vl.jsonl",
    "output_dir": "output/vlm_test",
}


def llm(**fields: Any) -> LLMTrainingJobCreateRequest:
    """An LLM request."""
    return LLMTrainingJobCreateRequest.model_validate({**LLM, **fields})


def vlm(**fields: Any) -> VLMTrainingJobCreateRequest:
    """A VLM request."""
    return VLMTrainingJobCreateRequest.model_validate({**VLM, **fields})


NASTY = st.sampled_from(
    [
        "-", "--", "--external_plugins", "--external_plugins=/tmp/evil.py", "-x", "=", "'", '"', "\n", " ", "$(id)",
        "`id`", ";", "\\", "#5", "@args.txt", "--system", "-1", "-1e-5", "é", "🐦", "{}", "--no_packing", "\t",
    ]
)  # fmt: skip
CHARACTERS = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])
parts = st.lists(NASTY | st.text(CHARACTERS, max_size=8), max_size=5)
free_texts = parts.map("".join)


def _word(found: list[str]) -> str:
    text = "".join(character for character in " ".join(found) if character.isprintable()).strip()
    return f"w{text}" if not text or text.startswith("-") else text


words = parts.map(_word)
module_lists = words.map(lambda text: " ".join(part.lstrip("-") or "m" for part in text.split()))
