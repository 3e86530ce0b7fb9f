"""The vocoder without weights: what it makes has the spectrogram that it was given."""

from pathlib import Path

import pytest
import torch
from tiny_flowsep import RATE, noise, tiny_config

from soundsieve.errors import ConfigError
from soundsieve.query import Query
from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.systems.flowsep.griffin_lim import GriffinLim, GriffinLimConfig
from soundsieve.systems.flowsep.mel import LogMel, MelConfig
from soundsieve.weights.checkpoint import load_system, save_system


def sounds() -> torch.Tensor:
    t = torch.arange(9600) / RATE
    tones = 0.2 * torch.sin(2 * torch.pi * 440 * t) + 0.1 * torch.sin(2 * torch.pi * 1800 * t)
    return torch.stack([tones * (t < 0.3), noise(9600)[0]])


def test_it_comes_near_to_the_spectrogram() -> None:
    mel, vocoder = LogMel(MelConfig()), GriffinLim(GriffinLimConfig(), MelConfig())
    wanted = mel(sounds())
    made = vocoder(wanted[:, 0].transpose(1, 2))
    assert made.shape == (2, 9600)
    assert (mel(made) - wanted)[1].abs().mean() < 0.15  # 1.3 dB
    loud = wanted[0, 0, :25] > wanted[0, 0, :25].max() - 4
    assert (mel(made) - wanted)[0, 0, :25][loud].abs().mean() < 0.15
    longer = GriffinLim(GriffinLimConfig(iterations=1), MelConfig())(wanted[:, 0].transpose(1, 2))
    assert (mel(longer) - wanted)[1].abs().mean() > 1.5 * (mel(made) - wanted)[1].abs().mean()


def test_silence_stays_silent_and_answers_do_not_depend_on_the_batch() -> None:
    vocoder = GriffinLim(GriffinLimConfig(), MelConfig())
    silence = torch.full((1, 64, 20), 1e-5).log()
    assert vocoder(silence).abs().max() < 1e-6
    mel = LogMel(MelConfig())(sounds())[:, 0].transpose(1, 2)
    torch.testing.assert_close(vocoder(mel)[1:], vocoder(mel[1:]), atol=1e-5, rtol=0)


def test_it_goes_on_from_what_is_known() -> None:
    mel, vocoder = LogMel(MelConfig()), GriffinLim(GriffinLimConfig(updates=2, iterations=4), MelConfig())
    sound, n_fft = noise(9600), MelConfig().n_fft
    bands = mel(sound)[:, 0].transpose(1, 2)
    made = vocoder(bands, sound[:, :5000])
    assert (made - sound)[:, : 5000 - n_fft].abs().max() < 1e-5
    assert (made - sound)[:, 5000:].abs().max() > 0.1
    assert torch.equal(vocoder(bands, sound[:, :500]), vocoder(bands))  # less than a window of it tells nothing


def test_magnitudes_of_bins_have_the_bands_that_were_given() -> None:
    vocoder = GriffinLim(GriffinLimConfig(updates=200), MelConfig())
    magnitudes = torch.rand(1, 5, 513, generator=torch.Generator().manual_seed(0)) + 0.5
    bands = magnitudes @ vocoder.filters
    found = vocoder.magnitudes(bands.log())
    assert (found >= 0).all()
    torch.testing.assert_close(found @ vocoder.filters, bands, rtol=2e-3, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"updates": -1}, "updates is at least 0"), ({"iterations": 0}, "iterations at least 1"),
     ({"momentum": 1.0}, "momentum lies between 0 and 1")],
)  # fmt: skip
def test_numbers_out_of_range(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GriffinLimConfig(**changes)  # type: ignore[arg-type]


def test_a_system_without_weights_for_it(tmp_path: Path) -> None:
    system = FlowSep(tiny_config(vocoder=GriffinLimConfig(iterations=2))).eval()
    assert not [name for name in system.state_dict() if name.startswith("vocoder.")]
    save_system(tmp_path / "a.safetensors", system)
    again = load_system(tmp_path / "a.safetensors")
    assert again.config == system.config
    sound = noise(8000)
    answer = again(sound, again.encode_query(Query("a dog")))
    assert answer.shape == sound.shape
    torch.testing.assert_close(answer, system(sound, system.encode_query(Query("a dog"))))
