"""LASS-Net's published file: its entries to the names of `soundsieve.systems.lassnet.LASSNet`.

``LASSNet.pt`` keeps 696 entries under ``model``, each behind the ``module.`` of parallel training: ``text_embedder.``
is BERT-mini without pooler and a Linear, ``UNet.`` the network. The transforms are not in the file.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from soundsieve.encoders.bert import BERTConfig
from soundsieve.systems.lassnet import LASSNet, LASSNetConfig
from soundsieve.weights.layouts.account import Rules, check_constants, rename
from soundsieve.weights.layouts.clap import without_prefix
from soundsieve.weights.layouts.resunet import lassnet_key as resunet_key
from soundsieve.weights.layouts.resunet import state_by_keys

NETWORK, TEXT = "UNet.", "text_embedder."

_TEXT: Rules = (
    (r"^bert\.layers\.", "bert_layer.encoder.layer."),
    (r"^bert\.", "bert_layer."),
    (r"^project\.", "linear_layer.0."),
)
_POSITIONS = TEXT + "bert_layer.embeddings.position_ids"


def lassnet_key(name: str) -> str:
    """Our parameter of `LASSNet` -> its key in the file, without ``module.``."""
    if name.startswith("text."):
        return TEXT + rename(name.removeprefix("text."), _TEXT)
    return NETWORK + resunet_key(name.removeprefix("net."))


def is_lassnet(published: Mapping[str, Tensor]) -> bool:
    """Whether this looks like LASS-Net's file, whole or not."""
    keys = without_prefix(published).keys()
    return any(key.startswith(NETWORK) for key in keys) and any(key.startswith(TEXT) for key in keys)


def lassnet_state(
    published: Mapping[str, Tensor], config: LASSNetConfig | None = None, *, what: str = "the LASS-Net file"
) -> dict[str, Tensor]:
    """The state dict of a `LASSNet` out of the published one.

    Args:
        published: its state dict, with or without the ``module.`` before each key.
        config: its sizes; the published model's unless given.
        what: the file, for messages.

    Raises:
        WeightsError: an entry is missing, unexpected, misshapen, broken, or a constant that is another one.
    """
    config = config or LASSNetConfig.base()
    assert isinstance(config.text, BERTConfig)  # the published file has no other
    published = without_prefix(published)
    with torch.device("meta"):
        ours = LASSNet(config).state_dict()
    constants = {_POSITIONS: torch.arange(config.text.positions)[None]}
    state = state_by_keys(published, {name: lassnet_key(name) for name in ours}, ours, constants, what)
    check_constants(published, constants, what)
    return state
