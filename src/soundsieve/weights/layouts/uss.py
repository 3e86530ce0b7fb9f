"""USS's published file: its entries to the names of `soundsieve.systems.uss.USS`.

``ss_model=resunet30,querynet=at_soft,data=full,devices=8,step=1000000.ckpt`` holds the network behind ``ss_model.`` and
the tagger behind ``query_net.base.``. As a checkpoint of the training it may also hold, behind
``anchor_segment_detector.sed_model.``, the detector that chose training segments, which has the tagger's entries and is
not used here. Nor are ``bn2`` and ``beta2`` of the decoders. Transforms and the filterbank are computed here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from soundsieve.dsp.mel import mel_filterbank
from soundsieve.encoders.pann import Cnn14Config
from soundsieve.systems.uss import USS, USSConfig
from soundsieve.weights.layouts.account import Rules, check_constants, check_names, rename
from soundsieve.weights.layouts.clap import stft_basis
from soundsieve.weights.layouts.resunet import resunet30_key, resunet30_state, state_by_keys

NETWORK, TAGGER, DETECTOR = "ss_model.", "query_net.base.", "anchor_segment_detector.sed_model."

_CNN14: Rules = (
    (r"^bands_norm\.", "bn0."),
    (r"^blocks\.0\.", "conv_block1."),
    (r"^blocks\.1\.", "conv_block2."),
    (r"^blocks\.2\.", "conv_block3."),
    (r"^blocks\.3\.", "conv_block4."),
    (r"^blocks\.4\.", "conv_block5."),
    (r"^blocks\.5\.", "conv_block6."),
    (r"\.norm([12])\.", r".bn\1."),
    (r"^embed\.", "fc1."),
    (r"^classify\.", "fc_audioset."),
)


def uss_key(name: str) -> str:
    """Our parameter of `USS` -> its key in the file."""
    if name.startswith("tagger."):
        return TAGGER + rename(name.removeprefix("tagger."), _CNN14)
    return NETWORK + resunet30_key(name.removeprefix("network."))


def is_uss(published: Mapping[str, Tensor]) -> bool:
    """Whether this looks like a file of USS, whole or not."""
    return any(key.startswith(NETWORK) for key in published) and any(key.startswith(TAGGER) for key in published)


def uss_state(
    published: Mapping[str, Tensor], config: USSConfig | None = None, *, what: str = "the USS file"
) -> dict[str, Tensor]:
    """The state dict of a `USS` out of the published one.

    Args:
        published: its state dict.
        config: its sizes; the published base model's unless given.
        what: the file, for messages.

    Raises:
        WeightsError: an entry is missing, unexpected, misshapen, broken, or a constant that is another one.
    """
    config = config or USSConfig.base()
    with torch.device("meta"):
        ours = USS(config).state_dict()
    constants = _tagger_constants(config.tagger)
    tagger = {name: uss_key(name) for name in ours if name.startswith("tagger.")}
    detector = [DETECTOR + key.removeprefix(TAGGER) for key in (*tagger.values(), *constants)]
    within = [key for key in published if key.startswith((NETWORK, TAGGER))]
    check_names(published, needed=(), known={*within, *detector}, what=what)
    network = resunet30_state(published, ours, config.n_fft, prefix=NETWORK, what=what)
    return network | tagger_state(published, ours, config.tagger, what=what)


def tagger_state(
    published: Mapping[str, Tensor], ours: Mapping[str, Tensor], config: Cnn14Config, *, what: str
) -> dict[str, Tensor]:
    """The part ``tagger.`` of a `USS`'s state dict, out of the entries behind ``query_net.base.``.

    Args:
        published: a state dict; other entries are not looked at.
        ours: names and shapes of that part, or of the whole.
        config: the tagger's sizes.
        what: the file, for messages.

    Raises:
        WeightsError: an entry is missing, unexpected, misshapen, broken, or a constant that is another one.
    """
    constants = _tagger_constants(config)
    own = {key: tensor for key, tensor in published.items() if key.startswith(TAGGER)}
    check_constants(own, constants, what)
    keys = {name: uss_key(name) for name in ours if name.startswith("tagger.")}
    return state_by_keys(own, keys, ours, constants, what)


def _tagger_constants(config: Cnn14Config) -> dict[str, Tensor]:
    real, imaginary = stft_basis(config.n_fft)
    filterbank = mel_filterbank(config.sample_rate, config.n_fft, config.n_mels, config.fmin_hz, config.fmax_hz)
    return {
        TAGGER + "spectrogram_extractor.stft.conv_real.weight": real,
        TAGGER + "spectrogram_extractor.stft.conv_imag.weight": imaginary,
        TAGGER + "logmel_extractor.melW": filterbank,
    }
