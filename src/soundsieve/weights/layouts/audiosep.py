"""AudioSep's published file: its entries to the names of `soundsieve.systems.audiosep.AudioSep`.

``audiosep_base_4M_steps.ckpt`` holds 837 entries: the network behind ``ss_model.`` and a whole CLAP behind
``query_encoder.model.``, so it is all that is needed. Not used by anything: ``bn2`` and ``beta2`` of the decoders, and
of the CLAP what `soundsieve.weights.layouts.clap` lists. Transforms and their inverse are computed here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from soundsieve.systems.audiosep import AudioSep, AudioSepConfig
from soundsieve.weights.layouts.account import check_names
from soundsieve.weights.layouts.clap import clap_key, clap_state
from soundsieve.weights.layouts.resunet import resunet30_key, resunet30_state

NETWORK, CLAP = "ss_model.", "query_encoder.model."


def audiosep_key(name: str) -> str:
    """Our parameter of `AudioSep` -> its key in the file."""
    if name.startswith("clap."):
        return CLAP + clap_key(name.removeprefix("clap."))
    return NETWORK + resunet30_key(name.removeprefix("network."))


def is_audiosep(published: Mapping[str, Tensor]) -> bool:
    """Whether this looks like AudioSep's file, whole or not."""
    return any(key.startswith(NETWORK) for key in published) and any(key.startswith(CLAP) for key in published)


def audiosep_state(
    published: Mapping[str, Tensor], config: AudioSepConfig | None = None, *, what: str = "the AudioSep file"
) -> dict[str, Tensor]:
    """The state dict of an `AudioSep` out of the published one.

    Args:
        published: its state dict.
        config: its sizes; the published base model's unless given.
        what: the file, for messages.

    Raises:
        WeightsError: an entry is missing, unexpected, misshapen, broken, or a constant that is another one.
    """
    config = config or AudioSepConfig.base()
    with torch.device("meta"):
        ours = AudioSep(config).state_dict()
    check_names(published, needed=(), known=[key for key in published if key.startswith((NETWORK, CLAP))], what=what)
    network = resunet30_state(published, ours, config.n_fft, prefix=NETWORK, what=what)
    own = {key.removeprefix(CLAP): tensor for key, tensor in published.items() if key.startswith(CLAP)}
    clap = clap_state(own, config.clap, what=f"{what}, its CLAP")
    return network | {f"clap.{name}": tensor for name, tensor in clap.items()}
