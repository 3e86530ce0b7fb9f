"""Every benchmark by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Literal

from soundsieve.errors import ConfigError
from soundsieve.evaluation.benchmarks import audiosep, clapsep, dcase, flowsep, plain, voicebank
from soundsieve.evaluation.benchmarks.benchmark import Benchmark, Score
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixing

READY = Mixing("ready")
AT_0_DB = Mixing("snr", segment_s=10.0)
ROW_SNR = Mixing("snr", of_rows=True)
READY_OR_0_DB = Mixing("snr", of_rows=True, or_ready=True)
DRAWN_SNR = Mixing("snr", -15.0, 14.0, whole=True, segment_s=10.24)


def find(name: str) -> Benchmark:
    """A benchmark by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in BENCHMARKS:
        raise ConfigError(f"there is no benchmark '{name}'; there are {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]


_YOUTUBE = "from YouTube, by the ids in the file names"
_CLAPSEP_LISTS = "https://github.com/Aisaka0v0/CLAPSep, metadata/evaluation/"
_CLAPSEP_PROTOCOL = (
    "Asked for by the target's words, with the other sound's as exclusion. Its SDRi is that of BSS Eval (a filter of "
    "512 taps is fitted, as torchmetrics does by default), which is no plain energy ratio; its SI-SDRi removes no mean."
)
_CLAPSEP_MADE = (
    "The first 10 s of both recordings (shorter ones followed by zeros), the interferer at the target's energy (0 dB), "
    "mixture and target turned down to a peak of 0.9 where the mixture passes 1 (evaluation/eval_audiocaps.py)."
)
_CLAPSEP_GUESS = (
    " That script is for AudioCaps; those for the other sets were not released, and are taken to do the same."
)
_CLAPSEP_SCORES = "https://www.paperswithcode.com/paper/clapsep-leveraging-contrastive-pre-trained"


def _clapsep(
    name: str,
    title: str,
    csv: str,
    audio_at: str,
    licence: str,
    examples: int,
    *,
    clips: bool,
    scores: Mapping[str, float],
) -> Benchmark:
    more = ("example", "examples", "example+unlike", "text+example") if clips else ()
    return Benchmark(
        name=f"clapsep-{name}",
        title=f"{title}, CLAPSep's list",
        reader=clapsep.read,
        list_at=_CLAPSEP_LISTS + csv + (f", and {csv.replace('.csv', '_samples.csv')} beside it" if clips else ""),
        audio_at=audio_at,
        licence=licence,
        mixing=AT_0_DB,
        made=_CLAPSEP_MADE + ("" if name == "audiocaps" else _CLAPSEP_GUESS),
        sample_rate=32000,
        metrics=("filtered_sdri", "si_sdri", "sdri"),
        averaged="examples",
        protocol=_CLAPSEP_PROTOCOL,
        conditions=("text+exclude", "text", "exclude", *more),
        examples=examples,
        scores=(Score("CLAPSep", MappingProxyType(dict(scores)), _CLAPSEP_SCORES),) if scores else (),
    )


_AUDIOSEP_LISTS = "https://github.com/Audio-AGI/AudioSep (MIT licence), evaluation/metadata/"
_AUDIOSEP_AUDIO = "ready-made, from the folder that AudioSep's README links to ({}/)"
_AUDIOSEP_README = "https://github.com/Audio-AGI/AudioSep, README, Benchmark Evaluation"
_AUDIOSEP_READY = "Ready-made: {}. Nothing is mixed."
_SEGMENTS = (
    "target segment-IDX.wav, mixture mixture-IDX.wav. With the original recordings in the folder, --mix snr:0 makes "
    "mixtures of the same pairs: every interferer at the target's energy, their sum at 0 dB (the energy normalisation "
    "of AudioSep's data/waveform_mixers.py, without its limit of a factor of 50 either way)"
)


def _audiosep(
    name: str,
    title: str,
    reader: Callable[..., list[Example]],
    licence: str,
    examples: int,
    scores: tuple[float, float],
    *,
    made: str = _SEGMENTS,
    averaged: Literal["examples", "labels", "label medians"] = "examples",
    conditions: tuple[str, ...] = ("text",),
    protocol: str,
) -> Benchmark:
    return Benchmark(
        name=f"audiosep-{name}",
        title=f"{title}, AudioSep's list",
        reader=reader,
        list_at=f"{_AUDIOSEP_LISTS}{name}_eval.csv",
        audio_at=_AUDIOSEP_AUDIO.format(name),
        licence=licence,
        mixing=READY,
        made=_AUDIOSEP_READY.format(made),
        sample_rate=32000,
        metrics=("sdri", "si_sdr"),
        averaged=averaged,
        protocol=f"{protocol} SDRi is of plain energy ratios; SI-SDR is the answer's, not an improvement.",
        conditions=conditions,
        examples=examples,
        scores=(Score("AudioSep", MappingProxyType({"sdri": scores[0], "si_sdr": scores[1]}), _AUDIOSEP_README),),
    )


_DCASE_LICENCE = "recordings from Freesound, each under its own Creative Commons licence; see the record on Zenodo"
_DCASE_MADE = (
    "The interferer at the ratio of its row (-15 to 15 dB), mixture and target turned down to a peak of 0.9 where the "
    "mixture passes 1 (dcase_evaluator.py of https://github.com/Audio-AGI/dcase2024_task9_baseline)."
)
_HIDDEN = (
    "The targets are not released, so there is no SDR: a row holds the answer's energy and presence. The challenge "
    "scored these answers itself, by SDR (synthetic) and by listeners (real)."
)
_AUDIOCAPS = "audio: its uploaders'; captions: AudioCaps, for academic purposes (https://github.com/cdjkim/audiocaps)"
_AUDIOSET = "audio: its uploaders'; labels: CC BY 4.0 (AudioSet)"
_MUSIC = "audio: its uploaders' (the videos are named at https://github.com/roudimit/MUSIC_dataset)"
_ESC50 = "CC BY-NC 3.0 (https://github.com/karolpiczak/ESC-50)"

_ALL = (
    _clapsep(
        "audiocaps",
        "AudioCaps",
        "audiocaps_eval.csv",
        f"{_YOUTUBE}: Y + id of 11 letters, the 10 s that AudioCaps names, all in one folder",
        _AUDIOCAPS,
        4785,
        clips=False,
        scores={"filtered_sdri": 10.08, "si_sdri": 9.40},
    ),
    _clapsep(
        "audioset",
        "AudioSet",
        "audioset_eval.csv",
        f"{_YOUTUBE}: Y + id, the 10 s that AudioSet's evaluation segments name, all in one folder",
        _AUDIOSET,
        18869,
        clips=False,
        scores={"filtered_sdri": 9.29, "si_sdri": 8.44},
    ),
    _clapsep(
        "music21",
        "MUSIC21",
        "music_eval.csv",
        "cut into numbered pieces by CLAPSep's authors, who link to them in their README",
        _MUSIC,
        19805,
        clips=True,
        scores={},
    ),
    _clapsep(
        "esc50",
        "ESC-50",
        "esc_eval.csv",
        "https://github.com/karolpiczak/ESC-50, folder audio/",
        _ESC50,
        7500,
        clips=True,
        scores={},
    ),
    _clapsep(
        "fsdkaggle2018",
        "FSDKaggle2018",
        "fsd_eval.csv",
        "https://zenodo.org/records/2552860: FSDKaggle2018.audio_test and, for example clips, "
        "FSDKaggle2018.audio_train, in one folder",
        "CC BY 4.0, each recording CC0 or CC BY (https://zenodo.org/records/2552860)",
        8000,
        clips=True,
        scores={},
    ),
    _audiosep(
        "audiocaps",
        "AudioCaps",
        partial(audiosep.read_segments, label="labels"),
        _AUDIOCAPS,
        4820,
        (8.220, 7.189),
        conditions=("text", "label"),
        protocol="Asked for by the caption, or by AudioSet's labels in one line. Mean over examples.",
    ),
    _audiosep(
        "audioset",
        "AudioSet",
        audiosep.read_audioset,
        _AUDIOSET,
        5270,
        (7.739, 6.903),
        made="class_id=N/class_id=N,index=NNN,source.wav and ...,mixture.wav, ten of each of 527 classes",
        averaged="label medians",
        protocol="Asked for by the label. The median of every class's ten, then the mean over classes.",
    ),
    _audiosep(
        "vggsound",
        "VGGSound",
        audiosep.read_vggsound,
        "audio: its uploaders'; labels: CC BY 4.0 (https://www.robots.ox.ac.uk/~vgg/data/vggsound/)",
        1000,
        (9.144, 9.043),
        made="data/mix_wav, data/s0_wav (the target) and data/s1_wav",
        conditions=("text", "text+exclude", "exclude"),
        protocol="Asked for by the label. Mean over examples.",
    ),
    _audiosep(
        "clotho",
        "Clotho",
        audiosep.read_segments,
        "recordings from Freesound, each under its own Creative Commons licence; captions: Tampere University's "
        "licence (https://zenodo.org/record/4783391)",
        5225,
        (6.850, 5.242),
        protocol="Three sources a mixture. Asked for by the caption. Mean over examples.",
    ),
    _audiosep(
        "music",
        "MUSIC",
        partial(audiosep.read_segments, label="caption"),
        _MUSIC,
        5004,
        (10.508, 9.425),
        averaged="labels",
        protocol="Asked for by the instrument. Mean over the means of ten instruments.",
    ),
    _audiosep(
        "esc50",
        "ESC-50",
        partial(audiosep.read_segments, label="caption"),
        _ESC50,
        2000,
        (10.040, 8.810),
        protocol="Asked for by the label. Mean over examples.",
    ),
    Benchmark(
        name="dcase2024-validation",
        title="DCASE 2024 Task 9, synthetic validation",
        reader=dcase.read_validation,
        list_at="https://zenodo.org/records/10886481, lass_synthetic_validation.csv",
        audio_at="the same record, lass_validation.zip",
        licence=_DCASE_LICENCE,
        mixing=ROW_SNR,
        made=_DCASE_MADE,
        sample_rate=16000,
        metrics=("sdr", "sdri", "si_sdr"),
        protocol="Asked for by the caption. Plain energy ratios; SI-SDR is the answer's. Mean over examples.",
        examples=3000,
        scores=(
            Score(
                "baseline (AudioSep, 16 kHz)",
                MappingProxyType({"sdr": 5.708, "sdri": 5.673, "si_sdr": 3.862}),
                "https://github.com/Audio-AGI/dcase2024_task9_baseline, README",
            ),
        ),
    ),
    Benchmark(
        name="dcase2024-synthetic",
        title="DCASE 2024 Task 9, synthetic evaluation",
        reader=dcase.read_evaluation,
        list_at="https://zenodo.org/records/11425256, lass_synthetic_evaluation.csv",
        audio_at="the same record, lass_evaluation_synth.zip",
        licence=_DCASE_LICENCE,
        mixing=READY,
        made="Ready-made, by the challenge, at -15 to 15 dB.",
        sample_rate=16000,
        metrics=("energy_db",),
        protocol=_HIDDEN,
        examples=3000,
    ),
    Benchmark(
        name="dcase2024-real",
        title="DCASE 2024 Task 9, real evaluation",
        reader=dcase.read_evaluation,
        list_at="https://zenodo.org/records/11425256, lass_real_evaluation.csv",
        audio_at="the same record",
        licence=_DCASE_LICENCE,
        mixing=READY,
        made="Recordings of several sounds; nothing was mixed.",
        sample_rate=16000,
        metrics=("energy_db",),
        protocol=_HIDDEN,
    ),
    Benchmark(
        name="flowsep-audiocaps",
        title="AudioCaps, FlowSep's list",
        reader=flowsep.read,
        drawn=True,
        list_at="https://github.com/Audio-AGI/FlowSep, metadata-master/processed/audiocaps_test.json",
        audio_at=f"{_YOUTUBE}, as for clapsep-audiocaps",
        licence=_AUDIOCAPS,
        mixing=DRAWN_SNR,
        made=(
            "The first 10.24 s; an interferer drawn from the same list, at a whole number of dB from -15 to 14, the "
            "mixture and the target turned down to a peak of 0.9 where the mixture passes 1 (the released "
            "src/utilities/data/dataset.py leaves the target as it is). The draws of FlowSep's own runs are not "
            "published, so numbers compare only between runs of one seed here. Mixtures of a loudness drawn between "
            "-35 and -25 LUFS are made by --mix lufs:-35:-25; the released code has no such step, and the part of the "
            "paper that describes the mixtures could not be read."
        ),
        sample_rate=16000,
        metrics=("fad", "clap_score", "clap_score_audio"),
        protocol=(
            "FlowSep makes its sound anew, so it is measured by embeddings (--judge); ratios are for systems whose "
            "answers line up with the mixture. VGGSound and DCASE 2024's evaluation sets are there by their own names."
        ),
        conditions=("text", "text+exclude", "exclude"),
        examples=928,
    ),
    Benchmark(
        name="voicebank-demand",
        title="Voicebank-DEMAND, test set",
        reader=voicebank.read,
        list_at="",
        audio_at=(
            "https://doi.org/10.7488/ds/2117: noisy_testset_wav and clean_testset_wav in one folder; both are "
            "resampled from 48 kHz"
        ),
        licence="CC BY 4.0 (https://doi.org/10.7488/ds/2117)",
        mixing=READY,
        made="Ready-made: noisy speech and the clean speech in it, 824 utterances.",
        sample_rate=16000,
        metrics=("pesq", "ssnr", "si_sdr"),
        protocol='Asked for by "speech". PESQ is the wide-band one.',
        examples=824,
    ),
    Benchmark(
        name="list",
        title="a list of your own",
        reader=plain.read,
        list_at="a CSV file with the columns of an example; see below",
        audio_at="wherever its paths lead",
        licence="its recordings'",
        mixing=READY_OR_0_DB,
        made="What is not ready-made is mixed at 0 dB, or at the ratio of its row, or as --mix says.",
        sample_rate=32000,
        conditions=(
            "text",
            "text+exclude",
            "exclude",
            "example",
            "examples",
            "text+example",
            "example+unlike",
            "label",
        ),
    ),
)

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({benchmark.name: benchmark for benchmark in _ALL})
"""Name -> benchmark."""
