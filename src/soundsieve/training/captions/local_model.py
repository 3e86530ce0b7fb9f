"""A language model on this machine: any causal one that the transformers library reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from soundsieve.errors import ConfigError
from soundsieve.training.captions.language_model import Answer
from soundsieve.weights.checkpoint import pick_device


class LocalModel:
    """Answers by sampling from a causal language model.

    Args:
        path: folder with the model and its tokenizer, as the hub has them. Nothing is fetched, no code in it is run.
        device: where it computes.
        batch_size: prompts answered together.
        seed: of sampling; a batch is drawn by this and its first prompt's number.
        temperature: of sampling.
        max_tokens: of an answer.

    Raises:
        ConfigError: there is no such model, or a number is out of range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "cpu",
        batch_size: int = 8,
        seed: int = 0,
        temperature: float = 1.0,
        max_tokens: int = 600,
    ) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if not (Path(path) / "config.json").is_file():
            raise ConfigError(f"no language model at {path}: give the folder that holds its config.json")
        if min(batch_size, max_tokens) < 1 or temperature <= 0:
            raise ConfigError("local model: batch_size and max_tokens are at least 1, temperature is above 0")
        self.name, self.batch_size = Path(path).resolve().name, batch_size
        self._seed, self._device = seed, pick_device(device)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(path), local_files_only=True, padding_side="left")
            model: Any = AutoModelForCausalLM.from_pretrained(str(path), local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            what = " ".join(str(error).split())[:160]
            raise ConfigError(f"{path} cannot be read as a language model: {what}") from error
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.convert_ids_to_tokens(0)
        self._model: Any = model.to(self._device).eval()
        self._sampling = {"do_sample": True, "temperature": temperature, "max_new_tokens": max_tokens}

    @torch.no_grad()
    def answer(self, system: str, prompts: Sequence[str], first: int) -> Iterator[list[Answer]]:
        """See `LanguageModel.answer`: all answers in one piece."""
        encoded = self._tokenizer(
            [self._chat(system, prompt) for prompt in prompts], return_tensors="pt", padding=True,
            add_special_tokens=self._tokenizer.chat_template is None,  # a template writes its own
        )  # fmt: skip
        length = encoded["input_ids"].shape[1]
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self._seed * 1_000_003 + first)
            drawn = self._model.generate(
                input_ids=encoded["input_ids"].to(self._device),
                attention_mask=encoded["attention_mask"].to(self._device),
                pad_token_id=self._tokenizer.pad_token_id,
                **self._sampling,
            )
        answers = []
        for tokens in drawn[:, length:].tolist():
            # Whatever ends an answer is followed by padding alone; an answer that nothing ended fills its row.
            whole = self._tokenizer.eos_token_id in tokens
            answers.append(Answer(self._tokenizer.decode(tokens, skip_special_tokens=True), cut_off=not whole))
        yield answers

    def _chat(self, system: str, prompt: str) -> str:
        """The model's own way to write a talk, if it has one; all in one turn, as some models know no other role."""
        if self._tokenizer.chat_template is None:
            return f"{system}\n\n{prompt}\n\n"
        messages = [{"role": "user", "content": f"{system}\n\n{prompt}"}]
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
