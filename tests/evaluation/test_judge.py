from pathlib import Path

import pytest
import torch
from toy_benchmark import CLIPS, SECONDS, Knowing, Unmoved, sounds

from soundsieve import audio
from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.encoders.vggish import VGGish
from soundsieve.errors import WeightsError
from soundsieve.evaluation import listed, listed_report
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.mixing import Mixing
from soundsieve.evaluation.benchmarks.recordings import Recordings
from soundsieve.evaluation.benchmarks.registry import BENCHMARKS
from soundsieve.evaluation.judge import Judge, frechet_of_rows, load_judge, pack, unpack
from soundsieve.evaluation.listed import Asking
from soundsieve.evaluation.measuring import Target
from soundsieve.evaluation.pairs import SAMPLE_RATE, make_pairs
from soundsieve.evaluation.questions import plan
from soundsieve.evaluation.report import further_table, summarise
from soundsieve.evaluation.run import baselines, evaluate
from soundsieve.metrics import frechet_distance
from soundsieve.weights.clap import save_clap

RATE = 8000
WORDS = {"low": [1.0, 0.0], "high": [0.0, 1.0]}


def low_and_high(waveform: torch.Tensor) -> torch.Tensor:
    """Level below and above 1 kHz."""
    power = torch.fft.rfft(waveform).abs().square()
    border = round(1000 / RATE * waveform.shape[-1])
    return torch.stack([power[..., :border].sum(-1), power[..., border:].sum(-1)], -1).sqrt()


def read(texts: list[str]) -> torch.Tensor:
    return torch.tensor([WORDS[text] for text in texts])


JUDGE = Judge(low_and_high, RATE, read=read, name="ears")


def tone(hertz: float, rate: int = RATE) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hertz * torch.arange(rate) / rate)


def test_scores_tell_what_an_answer_sounds_like():
    target = Target(tone(300) + tone(2000), tone(300), sample_rate=RATE, judge=JUDGE)
    right, wrong = target.measure(tone(301), text="low"), target.measure(tone(2000), text="low")
    assert right["clap_score"] == pytest.approx(1, abs=0.01)
    assert right["clap_score_audio"] == pytest.approx(1, abs=0.01)
    assert wrong["clap_score"] == pytest.approx(0, abs=0.05)
    assert wrong["clap_score_audio"] == pytest.approx(0, abs=0.05)
    assert right["sdr"] < 1  # another pitch, so no sample is right
    torch.testing.assert_close(unpack(right["embedding"]), JUDGE.hear(tone(301), sample_rate=RATE), rtol=1e-3, atol=0.1)


def test_answers_are_heard_at_the_rate_of_the_judge():
    at_home, elsewhere = (JUDGE.hear(tone(300, rate) * tone(2, rate), sample_rate=rate) for rate in (RATE, 2 * RATE))
    torch.testing.assert_close(at_home, elsewhere, rtol=0.05, atol=1.0)


def test_what_is_not_there_is_not_judged():
    mixture = tone(300) + tone(2000)
    assert set(Target(mixture, None, sample_rate=RATE, judge=JUDGE).measure(mixture)) == {"energy_db"}
    asked = Target(mixture, None, sample_rate=RATE, judge=JUDGE).measure(mixture, text="low")
    assert set(asked) == {"energy_db", "embedding", "clap_score"}
    deaf = Judge(low_and_high, RATE)
    known = Target(mixture, tone(300), sample_rate=RATE, judge=deaf, metrics=()).measure(mixture, text="low")
    assert set(known) == {"energy_db", "embedding", "reference_embedding"}


def test_embeddings_survive_their_row():
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, 512), (5, 3), (1, 1)):
        x = torch.nn.functional.normalize(torch.randn(shape, generator=generator), dim=1)
        torch.testing.assert_close(unpack(pack(x)), x, atol=5e-4, rtol=1e-3)
        assert len(pack(x)) < 3 * x.numel() + 20


def test_the_distance_of_rows_is_that_of_their_embeddings():
    generator = torch.Generator().manual_seed(0)
    heard, wanted = torch.randn(20, 3, 4, generator=generator), torch.randn(20, 1, 4, generator=generator)
    rows = [{"embedding": pack(a), "reference_embedding": pack(b)} for a, b in zip(heard, wanted, strict=True)]
    expected = frechet_distance(heard.flatten(0, 1), wanted.flatten(0, 1))
    assert frechet_of_rows([*rows, {"embedding": pack(heard[0])}, {}]) == pytest.approx(expected, rel=1e-2)
    assert frechet_of_rows(rows[:1]) is None
    assert frechet_of_rows([{"sdr": 1.0}]) is None


def test_a_run_can_be_heard():
    pairs = make_pairs(CLIPS.values(), sounds, seconds=SECONDS)[:4]
    hearing = Judge(low_and_high, RATE, read=lambda texts: torch.ones(len(texts), 2), name="ears")
    questions = plan(pairs, CLIPS, conditions=["text", "example", "absent"])
    summaries = []
    for system in (Unmoved(), Knowing()):
        rows = list(evaluate(system, pairs, questions, sounds, seconds=SECONDS, judge=hearing))
        rows += baselines(pairs, CLIPS, sounds, seconds=SECONDS, judge=hearing)
        for row in rows:
            assert ("clap_score" in row) == ("embedding" in row) == (row["direction"] is not None)
        summaries.append(summarise(rows))
    unmoved, knowing = (summary["conditions"]["text"] for summary in summaries)
    assert knowing["fad"]["mean"] < unmoved["fad"]["mean"]
    assert knowing["clap_score_audio"]["mean"] > unmoved["clap_score_audio"]["mean"]
    assert summaries[0]["conditions"]["mixture"]["fad"] == unmoved["fad"]
    table = further_table(summaries[1])
    assert "FAD (95%) | CLAPScore (95%) | CLAPScore_A (95%)" in table
    assert f"| {knowing['fad']['mean']:.3f} |" in table


def test_answers_about_a_list_can_be_heard(tmp_path: Path):
    for path in ("tone/0.wav", "whistle/0.wav", "tone/1.wav", "hum/0.wav"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        audio.encode(tmp_path / path, sounds(path).numpy(), SAMPLE_RATE, subtype="FLOAT")
    examples = [
        Example("a", "a tone", "a whistle", target="tone/0.wav", interferers=("whistle/0.wav",)),
        Example("b", "a hum", "a tone", target="hum/0.wav", interferers=("tone/1.wav",)),
    ]
    asking = Asking(Mixing("snr", segment_s=1.0), Recordings(tmp_path, SAMPLE_RATE), conditions=("text", "exclude"))
    hearing = Judge(low_and_high, RATE, read=lambda texts: torch.tensor([[1.0, 0.0]] * len(texts)), name="ears")
    rows = list(listed.evaluate(Knowing(), examples, asking, judge=hearing))
    assert all({"clap_score", "clap_score_audio", "embedding", "reference_embedding"} <= set(row) for row in rows)
    by_name = {(row["example"], row["condition"]): row for row in rows}
    assert by_name["b", "text"]["clap_score"] > 0.99 > by_name["a", "mixture"]["clap_score"]
    entries = listed_report.summarise(rows, BENCHMARKS["flowsep-audiocaps"])["conditions"]
    assert entries["text"]["fad"]["mean"] < entries["mixture"]["fad"]["mean"]
    table = listed_report.condition_table(listed_report.summarise(rows, BENCHMARKS["flowsep-audiocaps"]))
    assert table.startswith("| query | n | FAD | CLAPScore | CLAPScore_A |")


def test_a_clap_judges(tmp_path: Path):
    torch.manual_seed(0)
    clap = CLAP(CLAPConfig.debug()).eval()
    save_clap(tmp_path / "clap.safetensors", clap)
    judge = load_judge(tmp_path / "clap.safetensors")
    assert judge.name.startswith("clap.safetensors (sha256 ")
    sound = torch.randn(SAMPLE_RATE)
    with torch.no_grad():
        expected = clap.embed_audio(sound[None])
        torch.testing.assert_close(judge.hear(sound, sample_rate=SAMPLE_RATE), expected)
        row = judge.judge(expected, reference=expected, text="a dog")
        cosine = (expected[0] * clap.embed_text(["a dog"])[0]).sum().item()
    assert row["clap_score"] == pytest.approx(cosine, abs=1e-4)
    assert row["clap_score_audio"] == pytest.approx(1, abs=1e-4)


def test_vggish_judges(tmp_path: Path):
    small = VGGish(hidden=8)
    torch.save(small.state_dict() | {"pca.weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth does not fit VGGish: .*pca"):
        load_judge(tmp_path / "other.pth")
    torch.save(small.state_dict(), tmp_path / "vggish.pth")
    judge = load_judge(tmp_path / "vggish.pth")
    sound = torch.randn(32000)
    heard = judge.hear(sound, sample_rate=16000)
    assert heard.shape == (2, 128)
    assert set(judge.judge(heard, reference=heard, text="a dog")) == {"embedding", "reference_embedding"}


def test_what_is_no_judge_is_told(tmp_path: Path):
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
    for name in ("none.pth", "other.pth"):
        with pytest.raises(WeightsError, match=name.split(".")[0]):
            load_judge(tmp_path / name)
