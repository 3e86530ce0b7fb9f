"""The only code that opens sound files: whole, in blocks, in and out; and resampling.

Samples are float32, shape ``(C, T)``, nominally in [-1, 1]; nothing here changes their level unasked.
"""

from soundsieve.audio.files import decode, encode, probe
from soundsieve.audio.formats import CONTAINERS, READABLE, output_container, output_subtype
from soundsieve.audio.info import AudioInfo, Samples, check_finite
from soundsieve.audio.reader import Reader
from soundsieve.audio.resampling import StreamResampler, resample, resampled_length
from soundsieve.audio.sources import Source
from soundsieve.audio.writer import ClipMode, Target, Writer, Written

__all__ = [
    "CONTAINERS",
    "READABLE",
    "AudioInfo",
    "ClipMode",
    "Reader",
    "Samples",
    "Source",
    "StreamResampler",
    "Target",
    "Writer",
    "Written",
    "check_finite",
    "decode",
    "encode",
    "output_container",
    "output_subtype",
    "probe",
    "resample",
    "resampled_length",
]
