"""FlowSep's published file at debug size, with random weights in it, and the tokenizer beside it."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import torch
from torch import Tensor
from vectors import DATA

from soundsieve.systems.flowsep.flowsep import FlowSep, FlowSepConfig
from soundsieve.systems.flowsep.snake import lowpass
from soundsieve.weights.layouts import flowsep as layout
from soundsieve.weights.layouts.flowsep import average_key, flowsep_key, loss_keys, unet_key

WORDS = "cond_stage_models.0.model.shared.weight"
WORDS_AGAIN = "cond_stage_models.0.model.encoder.embed_tokens.weight"


def rows(name: str = "keys") -> list[dict[str, str]]:
    """What a published file holds: key, shape, dtype, and whether it is a parameter, a buffer or computed."""
    with gzip.open(DATA / "flowsep" / f"{name}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def debug_flowsep(seed: int = 0) -> FlowSep:
    """A debug FlowSep in which no weight has its initial value."""
    torch.manual_seed(seed)
    system = FlowSep(FlowSepConfig.debug()).eval().requires_grad_(False)
    for parameter in system.parameters():
        if parameter.ndim >= 2:
            parameter.normal_(std=parameter[0].numel() ** -0.5)
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))
    system.scale_factor.fill_(0.9)
    return system


def flowsep_entries(system: FlowSep) -> dict[str, Tensor]:
    """All that ``v2_100k.ckpt`` holds under ``state_dict``, what nothing uses included."""
    config, state = system.config, system.state_dict()
    entries = {flowsep_key(name, config): tensor.clone() for name, tensor in state.items()}
    for name, tensor in state.items():
        if name.startswith("unet."):
            key = unet_key(name.removeprefix("unet."), config.unet)
            assert average_key(key) in entries
            entries[key] = torch.randn_like(tensor)
    vocoder = "first_stage_model.vocoder."
    entries |= {vocoder + key: torch.tensor(lowpass())[None, None] for key in layout.vocoder_filters(config.vocoder)}
    entries |= {f"first_stage_model.{key}": torch.randn(2) for key in loss_keys()}
    entries |= {key: torch.randn(4) for key in layout._SCHEDULE}
    entries |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7, dtype=torch.int32)}
    return entries | {WORDS_AGAIN: entries[WORDS]}


def flowsep_file(path: Path, system: FlowSep) -> Path:
    """As Lightning wrote it."""
    contents = {"epoch": 1, "global_step": 100_000, "pytorch-lightning_version": "2.0.0", "hyper_parameters": {"a": 1}}
    torch.save(contents | {"state_dict": flowsep_entries(system)}, path)
    return path
