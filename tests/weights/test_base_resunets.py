"""AudioSep, LASS-Net and USS of base size, from files as they are published to the answer: made-up weights, converted
by the command, against what the published implementations computed from the same weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_weights import rng, signal
from vectors import DATA, made_up

import soundsieve
from soundsieve.cli.main import main

pytestmark = pytest.mark.slow

WAVEFORM = 5e-5
"""Of the waveform's peak; another order of summation makes up to 6e-6."""


def write_tokenizer(path: Path, size: int, start: int, end: int) -> None:
    """As many tokens as the text encoder knows, each the decimal digits of its number, between a start and an end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({str(i): i for i in range(size)}, unk_token="3"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing((str(end), end), (str(start), start))
    path.write_text(tokenizer.to_str(), "utf-8")


def words(low: int, high: int, size: int) -> str:
    return " ".join(map(str, rng("0:tokens:pos").integers(low, high, size=size)))


CASES: dict[str, dict[str, Any]] = {
    "audiosep": {
        "data": "audiosep",
        "file": "audiosep_base_4M_steps.ckpt",
        "outer": "state_dict",
        "tokenizer": (50265, 0, 2),
        "query": lambda: {"text": words(4, 50260, 11)},
        "mixture": ("mix10", 320000),
        "measured": "text.waveform",
    },
    "lassnet": {
        "data": "lass",
        "file": "LASSNet.pt",
        "outer": "model",
        "tokenizer": (30522, 101, 102),
        "query": lambda: {"text": words(1000, 30000, 9)},
        "mixture": ("mix10", 320000),
        "measured": "direct.wav",
    },
    "uss": {
        "data": "uss",
        "file": "ss_model=resunet30,querynet=at_soft,data=full,devices=8,step=1000000.ckpt",
        "outer": "state_dict",
        "tokenizer": None,
        "query": lambda: {"like": (signal("query2", 64000, 32000, 330)[0].numpy(), 32000)},
        "mixture": ("mix2", 64000),
        "measured": "from_query",
    },
}


@pytest.mark.parametrize("name", CASES)
def test_a_converted_file_answers_as_the_published_implementation(name: str, tmp_path: Path) -> None:
    case, one = CASES[name], tmp_path / "one.safetensors"
    options: list[str] = []
    if case["tokenizer"] is not None:
        write_tokenizer(tmp_path / "tokenizer.json", *case["tokenizer"])
        options = ["--tokenizer", str(tmp_path / "tokenizer.json")]
    torch.save({"epoch": 1, case["outer"]: made_up(DATA / case["data"] / "keys.csv")}, tmp_path / case["file"])
    with pytest.raises(SystemExit) as end:
        main(["convert", "--weights", str(tmp_path / case["file"]), *options, "-o", str(one)])
    assert not end.value.code
    (tmp_path / case["file"]).unlink()  # gigabytes

    separator = soundsieve.load(one)
    assert separator.system.name == name
    signal_name, samples = case["mixture"]
    mixture = signal(signal_name, samples, 32000)[0].numpy()
    target = separator.separate(mixture, sample_rate=32000, **case["query"]()).target[None]
    measured = np.load(DATA / case["data"] / "vectors.npz")
    peak = WAVEFORM * float(measured[f"{case['measured']}.stats"][2])
    for part, found in (("head", target[:, :2048]), ("tail", target[:, -512:]), ("stride61", target[:, ::61])):
        difference = np.abs(found - measured[f"{case['measured']}.{part}"].reshape(found.shape)).max()
        assert difference <= peak, f"{part}: {difference:.3g}, allowed {peak:.3g}"
    one.unlink()
