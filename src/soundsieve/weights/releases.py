"""The systems whose authors published weights: how a file of theirs is told from others, and what becomes of it.

One row each. To read another system's files, write its layout (see `soundsieve.weights.layouts`) and add a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from soundsieve.systems.audiosep import AudioSep, AudioSepConfig
from soundsieve.systems.base import System
from soundsieve.systems.clapsep import CLAPSep, CLAPSepConfig
from soundsieve.systems.flowsep.config import FlowSepConfig
from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.lassnet import LASSNet, LASSNetConfig
from soundsieve.systems.uss import USS, USSConfig
from soundsieve.weights.hub import BERT_TOKENIZER, T5_TOKENIZER, TOKENIZER, Source
from soundsieve.weights.layouts.audiosep import audiosep_state, is_audiosep
from soundsieve.weights.layouts.clapsep import clapsep_state, holds_clap, is_clapsep
from soundsieve.weights.layouts.flowsep import flowsep_state, is_flowsep
from soundsieve.weights.layouts.lassnet import is_lassnet, lassnet_state
from soundsieve.weights.layouts.uss import is_uss, uss_state

Published = Mapping[str, Tensor]


@dataclass(frozen=True)
class Reader:
    """What of a system reads texts.

    Attributes:
        usual: the tokenizer that it was trained with.
        sizes: a system's config -> what the tokenizer must fit (`soundsieve.weights.clap.TextSizes`).
        module: a system -> the module that has the tokenizer as ``tokenizer``.
    """

    usual: Source
    sizes: Callable[[Any], Any]
    module: Callable[[Any], Any]


@dataclass(frozen=True)
class Release:
    """One published system.

    Attributes:
        title: its name in its paper.
        system: its class.
        config: the class of its config; ``base()`` are the sizes of what is published.
        recognises: whether a state dict looks like its file, whole or not.
        state: state dict, that of the CLAP given beside it (or None), config, and the file's name for messages ->
            our state dict.
        reader: what reads texts; None where nothing does.
        takes_clap: whether a file of a CLAP may be given beside the weights.
        lacks_clap: whether these weights must have one beside them.
    """

    title: str
    system: type[System]
    config: Any
    recognises: Callable[[Published], bool]
    state: Callable[[Published, Published | None, Any, str], dict[str, Tensor]]
    reader: Reader | None = None
    takes_clap: bool = False
    lacks_clap: Callable[[Published], bool] = lambda _published: False

    @property
    def name(self) -> str:
        """Its name in files and commands."""
        return self.system.name


_CLAP_TEXT = Reader(TOKENIZER, lambda config: config.clap.text, lambda system: system.clap)
_CAPTIONS = Reader(BERT_TOKENIZER, lambda config: config.text, lambda system: system.text)
_T5_CAPTIONS = Reader(T5_TOKENIZER, lambda config: config.text, lambda system: system.text)

RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        Release(
            title="CLAPSep",
            system=CLAPSep,
            config=CLAPSepConfig,
            recognises=is_clapsep,
            state=lambda published, clap, config, what: clapsep_state(published, clap, config, what=what),
            reader=_CLAP_TEXT,
            takes_clap=True,
            lacks_clap=lambda published: not holds_clap(published),
        ),
        Release(
            title="AudioSep",
            system=AudioSep,
            config=AudioSepConfig,
            recognises=is_audiosep,
            state=lambda published, _clap, config, what: audiosep_state(published, config, what=what),
            reader=_CLAP_TEXT,
        ),
        Release(
            title="LASS-Net",
            system=LASSNet,
            config=LASSNetConfig,
            recognises=is_lassnet,
            state=lambda published, _clap, config, what: lassnet_state(published, config, what=what),
            reader=_CAPTIONS,
        ),
        Release(
            title="USS",
            system=USS,
            config=USSConfig,
            recognises=is_uss,
            state=lambda published, _clap, config, what: uss_state(published, config, what=what),
        ),
        Release(
            title="FlowSep",
            system=FlowSep,
            config=FlowSepConfig,
            recognises=is_flowsep,
            state=lambda published, _clap, config, what: flowsep_state(published, config, what=what),
            reader=_T5_CAPTIONS,
        ),
    )
}


def release_of(published: Published) -> Release | None:
    """The system whose file a state dict is, by the names of its entries; None where it is none of them."""
    return next((release for release in RELEASES.values() if release.recognises(published)), None)
