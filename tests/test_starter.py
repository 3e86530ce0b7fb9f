"""The embedded model keeps what it promises, on a handful of its test clips; the full table is in the README.

The floors here are lower than what was measured on all 413 mixtures, so that only a real loss breaks them.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import soundsieve
from soundsieve import audio
from soundsieve.evaluation.pairs import decoded, read_clips, read_pairs, read_paraphrases
from soundsieve.evaluation.questions import plan
from soundsieve.evaluation.run import evaluate, of_condition, selectivity
from soundsieve.metrics import sdr
from soundsieve.weights.catalog import CATALOG

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
EMBEDDED = ROOT / "src" / "soundsieve" / "embedded"
MIXTURES = 24


@pytest.fixture(scope="module")
def starter() -> soundsieve.Separator:
    return soundsieve.load()


@pytest.fixture(scope="module")
def rows(starter: soundsieve.Separator) -> list[dict]:
    clips = {clip.path: clip for clip in read_clips(BENCHMARKS / "clips" / "clips.csv")}
    pairs = read_pairs(BENCHMARKS / "pairs.csv", clips)[:MIXTURES]
    asked = ("text", "text+exclude", "paraphrase", "example", "absent")
    questions = plan(
        pairs, clips, conditions=asked, folder=BENCHMARKS / "clips",
        paraphrases=read_paraphrases(BENCHMARKS / "paraphrases.csv"),
    )  # fmt: skip
    return list(evaluate(starter.system, pairs, questions, decoded(BENCHMARKS / "clips")))


@pytest.fixture(scope="module")
def dog_and_rain() -> tuple[np.ndarray, np.ndarray]:
    dog, rain = (audio.decode(EMBEDDED / "demo" / f"{name}.flac")[0][0] for name in ("dog", "rain"))
    return dog, rain * np.sqrt(np.square(dog).sum() / np.square(rain).sum())


def mean(rows: list[dict], condition: str, measure: str = "sdri") -> float:
    return float(np.mean([row[measure] for row in of_condition(rows, condition)]))


def test_it_finds_what_is_described(rows: list[dict]) -> None:
    assert mean(rows, "text") > 6.0
    assert mean(rows, "text+exclude") > 7.0
    assert mean(rows, "paraphrase") > 5.0
    assert mean(rows, "example") > 4.5


def test_it_answers_with_the_sound_that_was_asked_for(rows: list[dict]) -> None:
    told_apart = selectivity(rows)
    assert sum(told_apart.values()) / len(told_apart) > 0.6


def test_it_says_what_is_not_there(rows: list[dict]) -> None:
    absent = of_condition(rows, "absent")
    assert np.median([row["energy_db"] for row in absent]) < -10
    assert mean(rows, "absent", "presence") < mean(rows, "text", "presence") - 0.2


@pytest.mark.parametrize("query", ["a dog barking", "a hound barks", "woofing", "puppy yapping"])
def test_free_text_finds_the_dog(
    starter: soundsieve.Separator, dog_and_rain: tuple[np.ndarray, np.ndarray], query: str
) -> None:
    dog, rain = dog_and_rain
    out = starter.separate(dog + rain, query, sample_rate=32000)
    assert sdr(torch.from_numpy(out.target), torch.from_numpy(dog)) > 5.0
    assert out.presence is not None
    assert out.presence > starter.presence_threshold


@pytest.mark.parametrize("query", ["собака", "雨", "🐕"])
def test_words_it_cannot_know_are_refused(starter: soundsieve.Separator, query: str) -> None:
    with pytest.raises(soundsieve.QueryError, match="in English"):
        starter.separate(np.ones(32000, np.float32), query, sample_rate=32000)


def test_its_answer_does_not_depend_on_the_level(
    starter: soundsieve.Separator, dog_and_rain: tuple[np.ndarray, np.ndarray]
) -> None:
    mixture = dog_and_rain[0] + dog_and_rain[1]
    loud, soft = (starter.separate(mixture * gain, "rain", sample_rate=32000).target for gain in (0.5, 0.005))
    np.testing.assert_allclose(soft * 100, loud, atol=1e-4)


def test_it_is_small_and_of_known_bytes() -> None:
    import hashlib

    file = EMBEDDED / "starter.safetensors"
    assert file.stat().st_size < 25e6
    assert hashlib.sha256(file.read_bytes()).hexdigest() == CATALOG["starter"].sha256


def test_the_first_result_comes_soon_and_later_ones_fast() -> None:
    """In a fresh process on two threads: under 5 s to the first result, and at least 20 times faster than real time."""
    code = """
import time
start = time.perf_counter()
import numpy as np, torch, soundsieve
torch.set_num_threads(2)
sieve = soundsieve.load()
x = np.random.default_rng(0).normal(0, 0.1, 320000).astype("float32")
sieve.separate(x, "rain", sample_rate=32000)
first = time.perf_counter() - start
times = []
for _ in range(3):
    start = time.perf_counter()
    sieve.separate(x, "rain", sample_rate=32000)
    times.append(time.perf_counter() - start)
print(first, min(times))
"""
    runs = []
    for _ in range(2):  # once may fall into a busy moment of the machine
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        runs.append([float(value) for value in done.stdout.split()])
        if runs[-1][0] < 5 and runs[-1][1] < 0.5:
            break
        time.sleep(5)
    first, again = np.min(runs, axis=0)
    assert first < 5.0
    assert again < 0.5  # 10 s of sound
