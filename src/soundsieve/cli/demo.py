"""``soundsieve demo``: two real sounds mixed, each asked for in words, heard, seen and measured."""

from __future__ import annotations

from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np

QUERIES = {"a dog barking": "dog.flac", "rain falling": "rain.flac"}
"""What is asked, and the clip in `soundsieve.embedded` that is the right answer; the clips add up to the mixture."""


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the sounds and the picture.")] = Path(
        "demo"
    ),
    model: Annotated[
        str, typer.Option("--model", "-m", help="Name or file of a model; see `soundsieve models`.")
    ] = "starter",
    device: Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Separate a bundled recording of a dog in the rain, and show what came out.

    Writes the mixture, what each query extracts and a picture, and prints how close each answer is to the clean
    sound (SDR, the energy of the sound over the energy of the error, in dB) before and after.
    """
    import numpy as np

    from soundsieve import audio
    from soundsieve.separator import load

    references, sample_rate = bundled_clips()
    mixture = np.sum(list(references.values()), axis=0)
    separator = load(model, device)

    print(f"A dog in the rain, separated by '{model}'. How close each sound is to the clean one (SDR):\n")
    print(f"  {'query':16}{'in the mixture':>16}{'in the answer':>16}   file")
    written = [audio.encode(output / "mixture.wav", mixture, sample_rate)]
    answers = {}
    for query, reference in references.items():
        answers[query] = separator.separate(mixture, query, sample_rate=sample_rate)
        written.append(answers[query].save(output / f"{query.replace(' ', '-')}.wav", subtype="PCM_16"))
        before, after = _sdr(mixture, reference), _sdr(answers[query].target, reference)
        numbers = "".join(f"{round(value, 1) + 0.0:>13.1f} dB" for value in (before, after))  # + 0.0: never "-0.0"
        print(f"  {query:16}{numbers}   {written[-1].path}")
    print(f"\nThe mixture is {written[0].path}.")
    for file in written:
        if file.note:
            print(f"{file.path}: {file.note}")

    first, answer = next(iter(answers.items()))
    panels = {"the mixture": mixture, f"asked for: {first}": answer.target, "everything else": answer.residual}
    print(_draw(output / "demo.png", panels, sample_rate))


def bundled_clips() -> tuple[dict[str, np.ndarray], int]:
    """The two clean sounds, query -> samples of shape ``(1, T)``, and their sample rate in Hz."""
    from soundsieve import audio

    clips, sample_rate = {}, 0
    for query, name in QUERIES.items():
        with as_file(files("soundsieve.embedded") / "demo" / name) as path:
            clips[query], sample_rate = audio.decode(path)
    return clips, sample_rate


def _sdr(estimate: np.ndarray, reference: np.ndarray) -> float:
    import torch

    from soundsieve.metrics import sdr

    return sdr(torch.from_numpy(estimate), torch.from_numpy(reference)).item()


def _draw(path: Path, panels: dict[str, np.ndarray], sample_rate: int) -> str:
    """Draw the picture where matplotlib is installed; returns a sentence that says what happened."""
    if find_spec("matplotlib") is None:
        return "There is no picture, because matplotlib is not installed: pip install 'soundsieve[demo]'"
    from soundsieve.evaluation.pictures import save_figure, spectrogram_figure

    save_figure(path, spectrogram_figure(panels, sample_rate))
    return f"The picture is {path}."
