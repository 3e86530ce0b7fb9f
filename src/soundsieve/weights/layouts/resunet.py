"""Where the published files of AudioSep, USS and LASS-Net keep what `soundsieve.nn.resunet` calls otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from soundsieve.weights.layouts.account import Rules, check_constants, check_names, rename, taken
from soundsieve.weights.layouts.clap import COUNTER, stft_basis

_PARTS: Rules = ((r"\.norm([12])\.", r".bn\1."),)

_RESUNET30: Rules = (
    *_PARTS,
    (r"^bins_norm\.", "base.bn0."),
    (r"^net\.encoders\.0\.stem\.", "base.pre_conv."),
    (r"^net\.encoders\.(\d+)\.blocks\.(\d+)\.", r"base.encoder_block{\1+1}.conv_block{\2+1}."),
    (r"^net\.center\.blocks\.0\.", "base.conv_block7a.conv_block1."),
    (r"^net\.decoders\.(\d+)\.blocks\.(\d+)\.", r"base.decoder_block{\1+1}.conv_block{\2+2}."),
    (r"^net\.decoders\.\d+\.out\.", "base.after_conv."),
    (r"^net\.decoders\.(\d+)\.norm\.", r"base.decoder_block{\1+1}.bn1."),
    (r"^net\.decoders\.(\d+)\.film\.", r"base.decoder_block{\1+1}.film1."),
    (r"^net\.decoders\.(\d+)\.up\.", r"base.decoder_block{\1+1}.conv1."),
)
_LASSNET: Rules = (
    *_PARTS,
    (r"\.film_shortcut\.", ".film_res."),
    (r"\.(film\w+)\.(\d)\.(weight|bias)$", r".\1.linear.\2.\3"),
    (r"^encoders\.(\d+)\.blocks\.(\d+)\.", r"encoder_block{\1+1}.conv_block{\2+1}."),
    (r"^center\.blocks\.0\.", "conv_block7."),
    (r"^decoders\.\d+\.tail\.blocks\.0\.", "after_conv_block1."),
    (r"^decoders\.\d+\.out\.", "after_conv2."),
    (r"^decoders\.(\d+)\.blocks\.(\d+)\.", r"decoder_block{\1+1}.conv_block{\2+2}."),
    (r"^decoders\.(\d+)\.norm\.", r"decoder_block{\1+1}.bn1."),
    (r"^decoders\.(\d+)\.up\.", r"decoder_block{\1+1}.conv1."),
)

_ISTFT = ("base.istft.ola_window", "base.istft.conv_real.weight", "base.istft.conv_imag.weight")


def _counted(name: str) -> str:
    """``{2+1}`` to ``3``: their blocks are counted from one."""
    return re.sub(r"\{(\d+)\+(\d)\}", lambda match: str(int(match[1]) + int(match[2])), name)


def lassnet_key(name: str) -> str:
    """Our parameter of `ResUNet` in the style of lassnet -> its key under ``UNet.``."""
    return _counted(rename(name, _LASSNET))


def resunet30_key(name: str) -> str:
    """Our parameter of `ResUNet30` -> its key under ``ss_model.``; what belongs to FiLM has arrows for points there."""
    key = _counted(rename(name, _RESUNET30))
    film = re.fullmatch(r"base\.(.+)\.film([12])\.(weight|bias)", key)
    return key if film is None else f"film.{film[1].replace('.', '->')}->beta{film[2]}.{film[3]}"


def resunet30_unused(names: Iterable[str]) -> set[str]:
    """Under ``ss_model.``: a second batch norm and a second shift of every decoder, which nothing reads."""
    keys = [resunet30_key(name) for name in names]
    norms = (re.sub(r"\.bn1\.", ".bn2.", key) for key in keys if re.match(r"base\.decoder_block\d+\.bn1\.", key))
    shifts = (key.replace("beta1", "beta2") for key in keys if re.match(r"film\.decoder_block\d+->beta1", key))
    return {*norms, *shifts}


def resunet30_state(
    published: Mapping[str, Tensor], ours: Mapping[str, Tensor], n_fft: int, *, prefix: str, what: str
) -> dict[str, Tensor]:
    """The part ``network.`` of a system's state dict, a `ResUNet30`, out of the entries behind a prefix.

    Args:
        published: a state dict; entries without the prefix are not looked at.
        ours: names and shapes of the whole system.
        n_fft: of the spectrogram.
        prefix: before each key.
        what: the file, for messages.

    Raises:
        WeightsError: an entry is missing, unexpected, misshapen, broken, or a constant that is another one.
    """
    own = {key: tensor for key, tensor in published.items() if key.startswith(prefix)}
    names = {name: name.removeprefix("network.") for name in ours if name.startswith("network.")}
    keys = {name: prefix + resunet30_key(short) for name, short in names.items()}
    basis = dict(zip(("base.stft.conv_real.weight", "base.stft.conv_imag.weight"), stft_basis(n_fft), strict=True))
    unused = {prefix + key for key in (*_ISTFT, *resunet30_unused(names.values()), *basis)}
    state = state_by_keys(own, keys, ours, unused, what)
    check_constants(own, {prefix + key: tensor for key, tensor in basis.items()}, what)
    return state


def state_by_keys(
    published: Mapping[str, Tensor],
    keys: Mapping[str, str],
    ours: Mapping[str, Tensor],
    unused: Iterable[str],
    what: str,
) -> dict[str, Tensor]:
    """A state dict by the published key of each of our names; counters of batches may be missing.

    Raises:
        WeightsError: an entry is missing, unexpected, misshapen or broken.
    """
    counters = {key for key in keys.values() if key.endswith(COUNTER)}
    check_names(published, needed=set(keys.values()) - counters, known=counters | set(unused), what=what)
    return {
        name: taken(published, key, ours[name], what) if key in published else ours[name].new_zeros((), device="cpu")
        for name, key in keys.items()
    }
