"""Mixtures on the fly: what adds up, what was asked for, what depends on what."""

from pathlib import Path

import numpy as np
import pytest
import torch

from soundsieve.errors import ConfigError
from soundsieve.evaluation.pairs import Clip, read_clips
from soundsieve.systems.sieve import Sieve, SieveConfig
from soundsieve.training.energies import EnergyBank, EnergyConfig
from soundsieve.training.mixtures import Mixer, MixtureConfig
from soundsieve.training.sampling import ClipSampler, read_sentences
from soundsieve.training.store import ClipStore


@pytest.fixture(scope="module")
def store(corpus: Path, cache: Path) -> ClipStore:
    return ClipStore(corpus.parent, read_clips(corpus), cache=cache)


@pytest.fixture(scope="module")
def bank(store: ClipStore) -> EnergyBank:
    torch.manual_seed(0)
    return EnergyBank(store, Sieve(SieveConfig.debug()), EnergyConfig(segment_s=1.2, speeds=(0.9, 1.0), noise=0.0))


def test_sources_add_up_to_the_mixture_at_the_asked_level(store: ClipStore) -> None:
    mixer = Mixer(store, MixtureConfig(segment_s=0.8, level_db=(-30.0, -30.0), snr_db=(3.0, 3.0)))
    mixture, sources = mixer.mixture([0, 4, 7], np.random.default_rng(0))
    assert sources.shape == (3, 25600)
    np.testing.assert_allclose(sources.sum(0), mixture, atol=1e-6)
    assert 10 * np.log10(np.square(mixture).mean()) == pytest.approx(-30.0, abs=0.01)
    power_db = 10 * np.log10(np.square(sources).mean(1))
    np.testing.assert_allclose(power_db[0] - power_db[1:], 3.0, atol=0.01)


def test_levels_are_left_alone_and_what_passes_full_scale_is_turned_down(store: ClipStore) -> None:
    """As AudioSep mixes: the target as recorded, and 0.9 the peak of what would clip."""
    seconds = 1.5 * len(store[0]) / 32000  # so that the first clip is in it once, whole

    def mixed(snr_db: float) -> tuple[np.ndarray, np.ndarray]:
        config = MixtureConfig(segment_s=seconds, speed_share=0.0, snr_db=(snr_db, snr_db), level_db=None)
        mixture, sources = Mixer(store, config).mixture([0, 4], np.random.default_rng(0))
        np.testing.assert_allclose(sources.sum(0), mixture, atol=1e-6)
        power_db = 10 * np.log10(np.square(sources).mean(1))
        assert power_db[0] - power_db[1] == pytest.approx(snr_db, abs=0.01)
        return mixture, sources

    _, sources = mixed(10.0)
    assert np.square(sources[0]).sum() == pytest.approx(np.square(store[0]).sum(), rel=1e-4)
    mixture, _ = mixed(-40.0)
    assert np.abs(mixture).max() == pytest.approx(0.9, abs=1e-4)


def test_peaks_are_matched_and_set(store: ClipStore) -> None:
    """As LASS-Net's released code mixes."""
    config = MixtureConfig(segment_s=0.8, snr_db=(6.0, 6.0), measure="peak", level_db=None, peak=1.0)
    mixture, sources = Mixer(store, config).mixture([0, 4], np.random.default_rng(0))
    first, second = np.abs(sources).max(1)
    assert 20 * np.log10(first / second) == pytest.approx(6.0, abs=1e-3)
    assert np.abs(mixture).max() == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ConfigError, match="peak or a level_db"):
        MixtureConfig(peak=1.0)


def test_every_crop_holds_sound(store: ClipStore) -> None:
    mixer, rng = Mixer(store, MixtureConfig(segment_s=2.0)), np.random.default_rng(1)
    for clip in range(len(store)):
        for _ in range(5):
            assert 10 * np.log10(np.square(mixer.crop(clip, rng)).mean()) > -60


def test_mixtures_are_a_function_of_the_seed(store: ClipStore, bank: EnergyBank) -> None:
    for maker in (Mixer(store, MixtureConfig(segment_s=1.0)), bank):
        first, again, other = (maker.mixture([1, 5], np.random.default_rng(seed))[0] for seed in (3, 3, 4))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_speed_changes_pitch(store: ClipStore) -> None:
    tone = next(i for i, clip in enumerate(store.clips) if clip.label == "tone")  # 700 Hz
    mixer = Mixer(store, MixtureConfig(segment_s=0.4, speed=(1.15, 1.15), speed_share=1.0))
    spectrum = np.abs(np.fft.rfft(mixer.crop(tone, np.random.default_rng(0))))
    assert spectrum.argmax() / 0.4 == pytest.approx(700 * 1.15, abs=5)


def test_the_energy_of_a_sum_is_near_the_sum_of_energies(bank: EnergyBank) -> None:
    mixture, sources = bank.mixture([0, 6], np.random.default_rng(0))
    assert mixture.shape == (60, 64)
    np.testing.assert_allclose(sources.sum(0), mixture, rtol=1e-5)
    assert (sources >= 0).all()


def test_band_energies_are_those_of_the_network(store: ClipStore, bank: EnergyBank) -> None:
    sieve = Sieve(SieveConfig.debug())
    samples = store[0]
    _, energies = sieve.spectrum(torch.from_numpy(samples)[None])
    stored = 10.0 ** bank.bank[1][0].astype(np.float32)  # speed 1.0
    frames = len(stored)
    np.testing.assert_allclose(stored, energies[0, :, :frames].T.numpy() + 1e-12, rtol=0.01)


def test_reverberation_only_adds_a_tail(bank: EnergyBank) -> None:
    config = EnergyConfig(segment_s=1.2, speeds=(1.0,), eq_db=0.0, lowpass=0.0, reverb=1.0)
    bank.config, kept = config, bank.config
    click = np.zeros((60, 64), np.float32)
    click[10] = 1.0
    out = bank._vary(click, np.random.default_rng(0))
    bank.config = kept
    assert not out[:10].any()
    tail = out[11:, 0]
    assert (tail > 0).all()
    np.testing.assert_allclose(tail[1:] / tail[:-1], tail[1] / tail[0], rtol=1e-3)  # exponential


def test_a_source_of_two_clips_is_as_loud_as_any(bank: EnergyBank) -> None:
    _, alone = bank.mixture([0, 5], np.random.default_rng(1))
    _, twinned = bank.mixture([0, 5], np.random.default_rng(1), twins={1: 6})
    np.testing.assert_allclose(alone.sum((1, 2)), twinned.sum((1, 2)), rtol=1e-4)
    assert np.array_equal(alone[0], twinned[0])
    assert not np.allclose(alone[1], twinned[1])


@pytest.mark.parametrize("kind", ["stretch", "shift", "dynamics"])
def test_a_clip_changes_in_one_way_alone(store: ClipStore, kind: str) -> None:
    torch.manual_seed(0)
    config = EnergyConfig(segment_s=1.2, speeds=(1.0,), **{kind: 1.0})
    bank = EnergyBank(store, Sieve(SieveConfig.debug()), config)
    logs = bank.bank[0][0].astype(np.float32)
    several = [bank._changed(logs, np.random.default_rng(seed)) for seed in range(8)]
    lengths = {len(changed) for changed in several}
    if kind == "stretch":
        assert min(lengths) < len(logs) < max(lengths)
        for changed in several:  # at the same pitch: the bands hold what they held
            np.testing.assert_allclose(changed.mean(0), logs.mean(0), atol=0.3)
        return
    assert lengths == {len(logs)}
    if kind == "dynamics":
        for changed in several:
            assert changed.max() == pytest.approx(logs.max(), abs=1e-4)
            spread = (changed - changed.max()) / np.minimum(logs - logs.max(), -1e-3)
            assert 0.79 < np.median(spread) < 1.26
    else:
        centre = [int((10.0**changed).sum(0).argmax()) for changed in several]
        assert len(set(centre)) > 1
        assert max(abs(c - int((10.0**logs).sum(0).argmax())) for c in centre) <= 3


def test_how_many_sources_follows_the_shares() -> None:
    config, rng = EnergyConfig(three_sources=0.3, four_sources=0.2), np.random.default_rng(0)
    counts = np.bincount([config.draw_count(rng) for _ in range(4000)], minlength=5) / 4000
    np.testing.assert_allclose(counts[2:], [0.5, 0.3, 0.2], atol=0.03)
    assert config.most_sources == 4
    with pytest.raises(ConfigError, match="together at most 1"):
        EnergyConfig(three_sources=0.7, four_sources=0.4)


def test_labels_in_a_mixture_differ(store: ClipStore) -> None:
    sampler, rng = ClipSampler(store.clips, ()), np.random.default_rng(0)
    for _ in range(50):
        assert len(set(sampler.draw_labels(3, rng))) == 3
    with pytest.raises(ConfigError, match="5 different labels"):
        sampler.draw_labels(5, rng)


def test_examples_come_from_another_recording(store: ClipStore) -> None:
    sampler, rng = ClipSampler(store.clips, ()), np.random.default_rng(0)
    for clip in range(len(store)):
        other = sampler.draw_example(clip, rng)
        assert store.clips[other].label == store.clips[clip].label
        assert store.clips[other].group != store.clips[clip].group
    alone = ClipSampler([Clip("a", "a", "An a.", "1"), Clip("b", "b", "A b.", "2")], ())
    assert alone.draw_example(1, rng) == 1


def test_sentences_are_read_for_known_labels_only(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("label,text\na,An a sounds.\nz,Unknown.\n")
    clips = [Clip("p", "a", "An a.", "1")]
    assert read_sentences([tmp_path / "s.csv"], clips) == {"a": ["a", "An a.", "An a sounds."]}
    (tmp_path / "bad.csv").write_text("label\na\n")
    with pytest.raises(ConfigError, match="label and text"):
        read_sentences([tmp_path / "bad.csv"], clips)
    with pytest.raises(ConfigError, match="cannot read"):
        read_sentences([tmp_path / "none.csv"], clips)


def test_every_sentence_belongs_to_its_label(store: ClipStore) -> None:
    sampler, rng = ClipSampler(store.clips, ()), np.random.default_rng(0)
    for label, name in enumerate(sampler.labels):
        for _ in range(10):
            assert name in sampler.texts[sampler.draw_sentence(label, rng)]


def test_shares_and_ranges_are_checked() -> None:
    with pytest.raises(ConfigError, match="share"):
        EnergyConfig(reverb=1.5)
    with pytest.raises(ConfigError, match="low to high"):
        MixtureConfig(snr_db=(5.0, -5.0))
