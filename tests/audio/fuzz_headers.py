"""Decode recordings with mutated headers: each must end in samples or an AudioError, in bounded time and memory.

Run as a program, on its own, so that a crash, a hang or a huge allocation ends this process and not the tests:

    python tests/audio/fuzz_headers.py 40    # mutations of each container

It prints the number of cases, how many were still readable, and the first thing that went wrong, if any did.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

from soundsieve import audio
from soundsieve.errors import AudioError

MEMORY_BYTES = 400 * 2**20  # on top of what the process has mapped before the first case
SECONDS = 10
HEADER_BYTES = 160
VALUES = [0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 4_000_000_000]
WIDE = [2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**40]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """One to four changes, most of them in the header: numbers forged, bits flipped, bytes cut out, put in or off."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(min(HEADER_BYTES, len(out)) if chance.random() < 0.85 else len(out))
        kind = chance.randrange(7)
        order = chance.choice(["little", "big"])
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at] = chance.randrange(256)
        elif kind == 2:
            out[at : at + 4] = chance.choice(VALUES).to_bytes(4, order)
        elif kind == 3:
            out[at : at + 8] = chance.choice(WIDE).to_bytes(8, order)
        elif kind == 4:
            out[at : at + 2] = (chance.choice(VALUES) & 0xFFFF).to_bytes(2, order)
        elif kind == 5:
            del out[at : at + chance.randint(1, 16)]
        else:
            del out[at:]
        if not out:
            return b"\0"
    return bytes(out)


def seeds(folder: Path) -> dict[str, bytes]:
    """A short recording in every container and every kind of sample format that is written."""
    time = np.arange(3000)
    x = np.stack([0.3 * np.sin(0.05 * time), 0.2 * np.sin(0.11 * time)]).astype(np.float32)
    made = {}
    for suffix in audio.CONTAINERS:
        for subtype in (None, "PCM_24", "FLOAT", "ALAC_16", "IMA_ADPCM", "ULAW"):
            path = folder / f"seed{suffix}"
            try:
                audio.encode(path, x, 48000, subtype=subtype)
            except AudioError:
                continue
            made[f"{suffix} {subtype or 'default'}"] = path.read_bytes()
    return made


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    if pages is not None:
        most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(per_seed: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = seeds(folder)
        limit_memory()
        cases = readable = 0
        for label, data in made.items():
            chance = random.Random(label)
            path = folder / f"case{label.split()[0]}"
            for number in range(per_seed):
                path.write_bytes(mutated(data, chance))
                print(f"{label} {number}", file=sys.stderr, flush=True)  # the last line names what hung or crashed
                signal.alarm(SECONDS)  # with no handler: it ends the process even within libsndfile
                cases += 1
                try:
                    with audio.Reader(path) as recording:
                        for _ in recording.blocks(48000):
                            pass
                    readable += 1
                except AudioError as error:
                    if "\n" in str(error):
                        print(f"{label}, case {number}: more than one line: {error}")
                        return 1
                except BaseException:
                    print(f"{label}, case {number}: {traceback.format_exc()}")
                    return 1
                finally:
                    signal.alarm(0)
        print(f"{cases} cases, {readable} readable")
        return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
