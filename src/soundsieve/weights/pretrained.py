"""Published encoders of queries in files of their own, which training starts from: BERT, T5 and Cnn14."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from soundsieve.encoders.bert import BERT
from soundsieve.encoders.pann import Cnn14
from soundsieve.encoders.t5 import T5
from soundsieve.errors import WeightsError
from soundsieve.weights.foreign import is_safetensors, read_state
from soundsieve.weights.layouts.resunet import state_by_keys
from soundsieve.weights.layouts.uss import TAGGER, tagger_state

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files that a network is kept in on the Hugging Face hub, the first choice first."""


def load_bert(bert: BERT, source: str | Path) -> None:
    """Fill in the weights of a BERT from the Hugging Face hub; what stands on top of it there is left out.

    Args:
        bert: of the same sizes.
        source: ``model.safetensors``, ``pytorch_model.bin``, or a folder with one of them.

    Raises:
        WeightsError: there is no such file, it is damaged, or holds another network.
    """
    path = _file_of(source)
    state = {_modern(key): tensor for key, tensor in _read(path).items()}
    prefix = "bert." if any(key.startswith("bert.") for key in state) else ""  # with the heads it was trained with
    keys = {name: prefix + name.replace("layers.", "encoder.layer.", 1) for name in bert.state_dict()}
    unused = {key for key in state if key.startswith((prefix + "pooler.", "cls.")) or key.endswith("position_ids")}
    bert.load_state_dict(state_by_keys(state, keys, bert.state_dict(), unused, str(path)))


def load_t5(t5: T5, source: str | Path) -> None:
    """Fill in the weights of a T5's encoder from the Hugging Face hub; a decoder that is there too is left out.

    Args:
        t5: of the same sizes.
        source: ``model.safetensors``, ``pytorch_model.bin``, or a folder with one of them.

    Raises:
        WeightsError: there is no such file, it is damaged, or holds another network.
    """
    path = _file_of(source)
    state = _read(path)
    keys = {name: "shared.weight" if name.startswith("words.") else name for name in t5.state_dict()}
    tied = "encoder.embed_tokens.weight"
    unused = {key for key in state if key.startswith(("decoder.", "lm_head.")) or key == tied}
    t5.load_state_dict(state_by_keys(state, keys, t5.state_dict(), unused, str(path)))


def _file_of(source: str | Path) -> Path:
    """The weights file that a folder from the hub holds, or the file itself."""
    path = Path(source)
    if not path.is_dir():
        return path
    found = [path / name for name in _WEIGHTS if (path / name).is_file()]
    if not found:
        raise WeightsError(f"{path} holds neither {_WEIGHTS[0]} nor {_WEIGHTS[1]}")
    return found[0]


def _modern(key: str) -> str:
    """TensorFlow's names for the two halves of a norm, which older files keep, to torch's."""
    return key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def load_tagger(tagger: Cnn14, path: str | Path) -> None:
    """Fill in the weights of a tagger: of PANNs' ``Cnn14_mAP=0.431.pth``, or those in USS's published file.

    Raises:
        WeightsError: there is no such file, it is damaged, or holds another network.
    """
    published = read_state(path)
    if not any(key.startswith(TAGGER) for key in published):
        published = {TAGGER + key: tensor for key, tensor in published.items()}
    ours = {f"tagger.{name}": tensor for name, tensor in tagger.state_dict().items()}
    state = tagger_state(published, ours, tagger.config, what=str(path))
    tagger.load_state_dict({name.removeprefix("tagger."): tensor for name, tensor in state.items()})


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"no weights at {path}")
    if not is_safetensors(path):
        return read_state(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} is damaged: {' '.join(str(error).split())}") from error
