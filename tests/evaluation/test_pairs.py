from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from toy_benchmark import CLIPS, SECONDS, SOUNDS, sounds

from soundsieve.dsp.mixing import energy_db, rms_db
from soundsieve.errors import AudioError, ConfigError
from soundsieve.evaluation.pairs import (
    LEVEL_DB,
    SAMPLE_RATE,
    Pair,
    decoded,
    make_pairs,
    mix,
    read_clips,
    read_labels,
    read_pairs,
    read_paraphrases,
    write_pairs,
)
from soundsieve.evaluation.questions import third_sound


def pairs(n: int | None = None, seed: int = 0) -> list[Pair]:
    return make_pairs(CLIPS.values(), sounds, n=n, seed=seed, seconds=SECONDS)


def test_the_seed_makes_the_list_whatever_the_order_of_the_clips():
    shuffled = list(CLIPS.values())
    random.Random(1).shuffle(shuffled)
    assert make_pairs(shuffled, sounds, seconds=SECONDS) == pairs()
    assert pairs(seed=1) != pairs()


def test_every_clip_is_used_equally_often():
    assert set(Counter(path for pair in pairs() for path in pair.paths).values()) == {2}
    uses = Counter(path for pair in pairs(n=20) for path in pair.paths).values()
    assert max(uses) - min(uses) <= 1
    assert sum(uses) == 40


@pytest.mark.parametrize("seed", range(8))
def test_pairs_differ_in_label_and_ask_for_neither_in_vain(seed):
    for pair in pairs(n=25, seed=seed):
        labels = [CLIPS[path].label for path in pair.paths]
        assert labels[0] != labels[1]
        assert pair.absent_label not in labels
        assert CLIPS[f"{pair.absent_label}/0.wav"].caption[:-2] == pair.absent_caption[:-2]


def test_examples_are_other_recordings_of_the_label():
    for pair in pairs():
        for path, examples in zip(pair.paths, pair.examples, strict=True):
            assert len(examples) == (0 if CLIPS[path].label == "hiss" else 2)
            assert {CLIPS[example].label for example in examples} <= {CLIPS[path].label}
            assert CLIPS[path].group not in {CLIPS[example].group for example in examples}
    named = {(path, examples) for pair in pairs() for path, examples in zip(pair.paths, pair.examples, strict=True)}
    assert len(named) == len(CLIPS)  # the same ones in both mixtures that a clip is in


def test_a_shared_caption_keeps_labels_apart():
    clips = [replace(clip, caption="A sound.") if clip.label in ("hum", "hiss") else clip for clip in CLIPS.values()]
    for pair in make_pairs(clips, sounds, n=30, seconds=SECONDS):
        assert {CLIPS[path].label for path in pair.paths} != {"hum", "hiss"}


def test_lists_that_cannot_be_paired_are_refused():
    with pytest.raises(ConfigError, match="at least three labels"):
        make_pairs([clip for clip in CLIPS.values() if clip.label in ("hum", "tone")], sounds)
    crowded = [clip for clip in CLIPS.values() if clip.label == "hum" or clip.path in ("tone/0.wav", "hiss/0.wav")]
    with pytest.raises(ConfigError, match="too many clips are of 'hum'"):
        make_pairs(crowded, sounds)
    with pytest.raises(ConfigError, match="at least one pair"):
        pairs(n=0)
    with pytest.raises(AudioError, match="is silent"):
        make_pairs(CLIPS.values(), lambda path: 0 * sounds(path))


def test_both_sounds_are_equally_loud_and_add_up():
    for pair in pairs():
        mixed = mix(pair, sounds, seconds=SECONDS)
        assert mixed.mixture.shape == (SAMPLE_RATE,)
        assert mixed.mixture.dtype == torch.float32
        torch.testing.assert_close(mixed.mixture, mixed.sources[0] + mixed.sources[1])
        torch.testing.assert_close(energy_db(mixed.sources[0]), energy_db(mixed.sources[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(rms_db(mixed.sources), torch.full((2,), LEVEL_DB).double(), atol=1e-4, rtol=0)


def test_one_sound_can_be_louder():
    for pair in pairs(n=4):
        even, apart = (mix(pair, sounds, seconds=SECONDS, snr_db=snr_db) for snr_db in (0.0, 5.0))
        first, second = energy_db(apart.sources)
        assert first - second == pytest.approx(5, abs=1e-4)
        assert torch.equal(apart.sources[0], even.sources[0])
        assert torch.equal(apart.mixture, apart.sources.sum(0))


def test_a_third_sound_has_another_label():
    drawn = set()
    for pair in pairs():
        third = third_sound(pair, CLIPS)
        assert third is not None
        assert CLIPS[third].label not in {CLIPS[path].label for path in pair.paths}
        assert third_sound(pair, dict(reversed(CLIPS.items()))) == third
        drawn.add(third)
        mixed = mix(pair, sounds, seconds=SECONDS, third=third)
        assert mixed.sources.shape[0] == 3
        levels = energy_db(mixed.sources)
        assert (levels - levels[0]).abs().max() < 1e-4
        assert torch.equal(mixed.mixture, mixed.sources.sum(0))
    assert len(drawn) > 3
    two_labels = {path: clip for path, clip in CLIPS.items() if path in pairs()[0].paths}
    assert third_sound(pairs()[0], two_labels) is None
    trained = {path: replace(clip, split="train") for path, clip in CLIPS.items()}
    assert third_sound(pairs()[0], trained) is None


def test_a_peak_above_full_scale_turns_both_down():
    click, tone = torch.zeros(8000), 0.1 * torch.ones(SAMPLE_RATE)
    click[:4] = 0.9
    mixed = mix(Pair(0, "click", "tone", 0, 0, "", ""), {"click": click, "tone": tone}.__getitem__, seconds=SECONDS)
    assert mixed.mixture.abs().max().item() == pytest.approx(1)
    torch.testing.assert_close(energy_db(mixed.sources[0]), energy_db(mixed.sources[1]), atol=1e-4, rtol=0)


def test_long_clips_are_cut_to_their_loudest_and_short_ones_placed():
    long, short = 0.01 * torch.ones(3 * SAMPLE_RATE), torch.ones(100)
    long[2 * SAMPLE_RATE : 2 * SAMPLE_RATE + 3200] = 1.0
    clips = [replace(CLIPS["hum/0.wav"], path="long"), replace(CLIPS["tone/0.wav"], path="short"),
             replace(CLIPS["hiss/0.wav"], path="third")]  # fmt: skip
    table = {"long": long, "short": short, "third": short}
    for pair in make_pairs(clips, table.__getitem__, n=6, seconds=SECONDS):
        for path, offset, source in zip(
            pair.paths, (pair.first_offset, pair.second_offset), mix(pair, table.__getitem__, seconds=SECONDS).sources,
            strict=True,
        ):  # fmt: skip
            if path == "long":
                assert offset <= 2 * SAMPLE_RATE < 2 * SAMPLE_RATE + 3200 <= offset + SAMPLE_RATE
            else:
                assert source.nonzero()[:, 0].tolist() == list(range(offset, offset + 100))


def test_a_list_made_for_other_clips_is_refused():
    pair = next(pair for pair in pairs() if len(SOUNDS[pair.first]) < SAMPLE_RATE)
    with pytest.raises(AudioError, match=f"pair {pair.pair_id} .* cannot be mixed"):
        mix(replace(pair, first_offset=10**6), sounds, seconds=SECONDS)


def test_lists_survive_a_file(tmp_path: Path):
    path = tmp_path / "lists" / "pairs.csv"
    write_pairs(path, pairs())
    assert read_pairs(path, CLIPS) == pairs()
    assert [file.name for file in path.parent.iterdir()] == ["pairs.csv"]


def test_broken_lists_are_refused(tmp_path: Path):
    path = tmp_path / "pairs.csv"
    write_pairs(path, pairs())
    text = path.read_text()
    with pytest.raises(ConfigError, match="which the list of clips lacks"):
        read_pairs(path, {name: clip for name, clip in CLIPS.items() if clip.label != "hum"})
    path.write_text(text.replace("first_offset", "offset"))
    with pytest.raises(ConfigError, match="lacks the column first_offset"):
        read_pairs(path, CLIPS)
    path.write_text(text.replace("\n0,", "\nzero,"))
    with pytest.raises(ConfigError, match="zero"):
        read_pairs(path, CLIPS)
    path.write_text(text.splitlines()[0] + "\n")
    with pytest.raises(ConfigError, match="lists no pair"):
        read_pairs(path, CLIPS)
    path.write_text(text + "99,hum/0.wav\n")
    with pytest.raises(ConfigError, match="line 14: 2 values for 9 columns"):
        read_pairs(path, CLIPS)
    with pytest.raises(ConfigError, match="cannot read"):
        read_pairs(tmp_path / "none.csv", CLIPS)


def test_clips_are_read_by_split(tmp_path: Path):
    path = tmp_path / "clips.csv"
    path.write_text("path,label,caption,group,licence,split\na,x,An x.,g,CC0,train\nb,y,A y.,h,CC0,test\n")
    assert [clip.path for clip in read_clips(path)] == ["a", "b"]
    assert [clip.path for clip in read_clips(path, split="test")] == ["b"]
    with pytest.raises(ConfigError, match="no clip of the split 'validation'"):
        read_clips(path, split="validation")
    path.write_text("path,label,caption,group\na,x,An x.,g\n")
    assert len(read_clips(path, split="test")) == 1


def test_paraphrases_are_read_by_label(tmp_path: Path):
    path = tmp_path / "paraphrases.csv"
    path.write_text('label,text\nrain,"drops, many"\nrain,a wet sky\ndog,a hound\n')
    assert read_paraphrases(path) == {"rain": ["drops, many", "a wet sky"], "dog": ["a hound"]}


def test_files_are_decoded_to_mono_at_the_common_rate(tmp_path: Path):
    time = np.arange(16000) / 16000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, np.zeros_like(tone)], 1), 16000, subtype="FLOAT")
    x = decoded(tmp_path)("tone.wav")
    assert x.shape == (SAMPLE_RATE,)
    assert x.dtype == torch.float32
    expected = 0.25 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    np.testing.assert_allclose(x[1000:-1000], expected[1000:-1000], atol=1e-3)


def test_labels_are_read_from_lines(tmp_path: Path):
    path = tmp_path / "labels.txt"
    path.write_text("hum\n\n tone \n")
    assert sorted(read_labels(path, CLIPS.values())) == sorted(read_labels(path)) == ["hum", "tone"]
    path.write_text("hum\nhums\n")
    with pytest.raises(ConfigError, match=r"labels\.txt: no clip is labelled 'hums'"):
        read_labels(path, CLIPS.values())
    path.write_text("\n")
    with pytest.raises(ConfigError, match="names no label"):
        read_labels(path, CLIPS.values())
    with pytest.raises(ConfigError, match="cannot read"):
        read_labels(tmp_path / "nowhere.txt", CLIPS.values())
