"""A causal language model of a few thousand random weights, over words about sounds."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = (
    "dog", "cat", "bird", "man", "woman", "bell", "train", "rain", "wind", "door", "barks", "sings", "talks", "rings",
    "falls", "blows", "opens", "loudly", "softly",
)  # fmt: skip


def save_tiny_model(folder: Path) -> None:
    """Write model and tokenizer as the hub has them; every token, the end of a line too, is about as likely."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    vocabulary = {word: place for place, word in enumerate(["<end>", "<unknown>", "\n", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unknown>").save_pretrained(
        folder
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(vocabulary), n_positions=256, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
