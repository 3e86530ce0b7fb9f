"""Published files at debug size: the layouts of each system's and LAION's releases, with random weights in them."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from soundsieve.encoders.clap import CLAPConfig
from soundsieve.nn.lora import LoRALinear
from soundsieve.systems.audiosep import AudioSep, AudioSepConfig
from soundsieve.systems.base import System
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.lassnet import LASSNet, LASSNetConfig
from soundsieve.systems.uss import USS, USSConfig
from soundsieve.weights.layouts.audiosep import audiosep_key
from soundsieve.weights.layouts.clap import _HEADS, _TRANSFORMS, published_clap, stft_basis, tower_constants
from soundsieve.weights.layouts.clapsep import clapsep_key, published_state
from soundsieve.weights.layouts.lassnet import lassnet_key
from soundsieve.weights.layouts.resunet import resunet30_unused
from soundsieve.weights.layouts.uss import _tagger_constants, uss_key


def debug_system(seed: int = 0) -> CLAPSep:
    """A debug CLAPSep in which no weight has its initial value: as in the published layout, alpha is 1."""
    torch.manual_seed(seed)
    system = CLAPSep(CLAPSepConfig.debug()).eval()
    with torch.no_grad():
        for module in system.modules():
            if isinstance(module, LoRALinear):
                module.lora_b.normal_(std=0.1)
                module.bias.add_(0.01 * torch.randn_like(module.bias))
            if isinstance(module, torch.nn.BatchNorm1d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2)
        system.tower.bands_norm.load_state_dict(system.clap.audio.bands_norm.state_dict())
    return system


def as_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published files are of debug size from here on."""
    for config in (CLAPConfig, CLAPSepConfig, AudioSepConfig, LASSNetConfig, USSConfig, FlowSepConfig):
        monkeypatch.setattr(config, "base", classmethod(lambda cls: cls.debug()))


def clap_entries(system: CLAPSep, *, prefix: str = "module.") -> dict[str, Tensor]:
    """What LAION's file holds under ``state_dict``, what nothing uses included."""
    state = published_clap(system.clap.state_dict(), system.config.clap)
    state |= {name: torch.randn(3, 2) for name in (*_TRANSFORMS, *(f"audio_branch.{key}" for key in _HEADS))}
    state["logit_scale_t"] = torch.tensor(2.7)
    return OrderedDict((prefix + key, tensor.clone()) for key, tensor in state.items())


def laion_file(path: Path, system: CLAPSep, *, prefix: str = "module.") -> Path:
    """As LAION's training writes it: epoch, name, the optimiser's state (with numpy numbers in it), weights."""
    weights = clap_entries(system, prefix=prefix)
    optimizer = {
        "state": {0: {"step": 3, "exp_avg": torch.zeros(2)}},
        "param_groups": [{"lr": np.float64(1e-4), "params": [0]}],
    }
    torch.save({"epoch": 15, "name": "debug", "optimizer": optimizer, "state_dict": weights}, path)
    return path


def slim_file(path: Path, system: CLAPSep, *, extras: bool = True) -> Path:
    """As the authors published it: what was trained, and biases of the frozen CLAP that came along by their names."""
    entries = dict(published_state(system.state_dict(), system.config))
    if extras:
        entries |= came_along(system)
    torch.save({key: tensor.clone() for key, tensor in entries.items()}, path)
    return path


def came_along(system: CLAPSep) -> dict[str, Tensor]:
    state = published_clap(system.clap.state_dict(), system.config.clap)
    ends = ("attn.qkv.bias", "attn.proj.bias")
    return {f"clap_model.model.{k}": v for k, v in state.items() if k.startswith("audio_branch.") and k.endswith(ends)}


def whole_entries(system: CLAPSep) -> dict[str, Tensor]:
    """What Lightning stores of the authors' module: every entry, the CLAP's and the constants included."""
    audio = system.config.clap.audio
    entries = {f"clap_model.model.{key}": tensor for key, tensor in clap_entries(system, prefix="").items()}
    entries.pop("clap_model.model.text_branch.embeddings.position_ids")  # newer transformers do not keep it
    tower = {name: tensor for name, tensor in system.state_dict().items() if name.startswith("tower.")}
    entries |= {clapsep_key(name): tensor for name, tensor in tower.items()}
    entries |= {f"audio_branch.{key}": tensor for key, tensor in tower_constants(audio).items()}
    entries |= {f"audio_branch.{key}": torch.randn(2) for key in _HEADS}
    entries |= published_state(system.state_dict(), system.config)
    real, imaginary = stft_basis(system.config.n_fft)
    entries |= {"stft.conv_real.weight": real, "stft.conv_imag.weight": imaginary}
    entries |= {f"istft.{name}": torch.zeros(2) for name in ("ola_window", "conv_real.weight", "conv_imag.weight")}
    return OrderedDict((key, tensor.clone()) for key, tensor in entries.items())


def lightning_file(path: Path, system: CLAPSep, **other: Any) -> Path:
    """As Lightning 2 writes it after a run with a scheduler, a checkpoint callback and hyperparameters."""
    progress = {"total": {"ready": 4, "completed": 4}, "current": {"ready": 2, "completed": 2}}
    score = torch.tensor(9.1)
    contents = {
        "epoch": 1,
        "global_step": 4,
        "pytorch-lightning_version": "2.6.6",
        "state_dict": whole_entries(system),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": progress, "epoch_loop.state_dict": {"_batches": 4}}},
        "callbacks": {
            "ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min'}": {
                "monitor": "val_loss", "best_model_score": score, "best_model_path": "a.ckpt", "dirpath": "checkpoint",
                "best_k_models": {"a.ckpt": score}, "kth_value": score, "last_model_path": "",
            }
        },
        "optimizer_states": [
            {
                "state": {0: {"step": torch.tensor(4.0), "exp_avg": torch.zeros(2)}},
                "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "fused": None, "params": [0]}],
            }
        ],
        "lr_schedulers": [{"factor": 0.3, "best": 9.1, "mode": "max", "_last_lr": [1e-3]}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 1e-3, "use_lora": True, "rank": 16},
        **other,
    }  # fmt: skip
    torch.save(contents, path)
    return path


# --- the ResUNet family ---


def audiosep_entries(system: AudioSep) -> dict[str, Tensor]:
    """All that AudioSep's file holds, what nothing uses and what can be computed included."""
    entries = {audiosep_key(name): tensor.clone() for name, tensor in system.state_dict().items()}
    clap = published_clap(system.clap.state_dict(), system.config.clap)
    entries |= {f"query_encoder.model.{key}": tensor for key, tensor in clap.items()}
    names = [name.removeprefix("network.") for name in system.state_dict() if name.startswith("network.")]
    entries |= {f"ss_model.{key}": torch.randn(3) for key in resunet30_unused(names)}
    for part, basis in zip(("real", "imag"), stft_basis(system.config.n_fft), strict=True):
        entries[f"ss_model.base.stft.conv_{part}.weight"] = basis
        entries[f"ss_model.base.istft.conv_{part}.weight"] = torch.randn(2, 2, 1)
    return entries


def lassnet_entries(system: LASSNet) -> dict[str, Tensor]:
    """All that LASS-Net's file holds under ``model``."""
    entries = {f"module.{lassnet_key(name)}": tensor.clone() for name, tensor in system.state_dict().items()}
    positions = torch.arange(system.config.text.positions)[None]
    return entries | {"module.text_embedder.bert_layer.embeddings.position_ids": positions}


def uss_entries(system: USS, *, detector: bool = True) -> dict[str, Tensor]:
    """All that USS's file holds, the training's detector included if asked for."""
    entries = {uss_key(name): tensor.clone() for name, tensor in system.state_dict().items()}
    entries |= _tagger_constants(system.config.tagger)
    if detector:
        for key in [key for key in entries if key.startswith("query_net.base.")]:
            entries[key.replace("query_net.base.", "anchor_segment_detector.sed_model.")] = torch.randn(3)
    names = [name.removeprefix("network.") for name in system.state_dict() if name.startswith("network.")]
    return entries | {f"ss_model.{key}": torch.randn(3) for key in resunet30_unused(names)}


RESUNETS: dict[str, tuple[type[System], type[Any], str]] = {
    "audiosep": (AudioSep, AudioSepConfig, "audiosep_base_4M_steps.ckpt"),
    "lassnet": (LASSNet, LASSNetConfig, "LASSNet.pt"),
    "uss": (USS, USSConfig, "ss_model=resunet30,querynet=at_soft,data=full,devices=8,step=1000000.ckpt"),
}
"""Name -> its class, that of its config, and what the published file is called."""


def debug_resunet(name: str, seed: int = 0) -> Any:
    """A debug system in which no weight has its initial value, batch norms' statistics included."""
    system_class, config, _ = RESUNETS[name]
    torch.manual_seed(seed)
    system = system_class(config.debug()).eval()
    for module in system.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return system


def resunet_file(folder: Path, system: System) -> Path:
    """The published file of one of them, as its authors' training wrote it."""
    path = folder / RESUNETS[system.name][2]
    if isinstance(system, LASSNet):
        torch.save({"model": lassnet_entries(system)}, path)
        return path
    entries = audiosep_entries(system) if isinstance(system, AudioSep) else uss_entries(system)  # type: ignore[arg-type]
    torch.save({"epoch": 1, "global_step": 4, "pytorch-lightning_version": "2.0", "state_dict": entries}, path)
    return path
