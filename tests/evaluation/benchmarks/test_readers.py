"""Each reader on a made-up excerpt in its format, with what real files have: quotes, commas, BOM, CRLF, no suffixes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from soundsieve.errors import ConfigError
from soundsieve.evaluation.benchmarks import audiosep, clapsep, dcase, flowsep, plain, voicebank
from soundsieve.evaluation.benchmarks.example import Example
from soundsieve.evaluation.benchmarks.registry import BENCHMARKS, find
from soundsieve.evaluation.benchmarks.tables import read_rows

BOM = "\ufeff"
CLAPSEP = (
    "source_file,positive_caption,noise_file,negative_caption\n"
    'dog.wav,"A dog barks, then ""Rex"" is called",sub/rain.wav,Rain falls\n'
    "./sub\\rain.wav, Rain falls ,dog.flac,A dog barks\n"
)


@pytest.fixture
def write(tmp_path: Path):
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode())
        return path

    return write


@pytest.mark.parametrize("text", [CLAPSEP, BOM + CLAPSEP, CLAPSEP.replace("\n", "\r\n"), CLAPSEP + "\n,,,\n"])
def test_clapsep(write, text: str) -> None:
    first, second = clapsep.read(write("some_eval.csv", text))
    assert first == Example(
        "0", 'A dog barks, then "Rex" is called', "Rain falls", target="dog.wav", interferers=("sub/rain.wav",)
    )
    assert (second.target, second.interferers, second.text) == ("sub/rain.wav", ("dog.flac",), "Rain falls")


def test_clapsep_with_clips_to_ask_by(write) -> None:
    path = write(
        "bells_eval.csv",
        f"{CLAPSEP.splitlines()[0]}\na.wav,The sound of bell,b.wav,the sound of car horn\n",
    )
    samples = "class,file\nThe sound of bell,\"['c.wav', 'd']\"\nthe sound of car horn,['e.wav']\n"
    write("bells_eval_samples.csv", samples)
    (example,) = clapsep.read(path)
    assert (example.label, example.like, example.unlike) == ("bell", ("c.wav", "d.wav"), ("e.wav",))

    write("bells_eval_samples.csv", "class,file\nThe sound of bell,\"['c.wav']\"\n")
    with pytest.raises(ConfigError, match="no clips for 'the sound of car horn'"):
        clapsep.read(path)
    for broken in ("c.wav", "\"('c.wav',)\"", "[]", '"[1]"', "\"__import__('os')\""):
        write("bells_eval_samples.csv", f"class,file\nThe sound of bell,{broken}\n")
        with pytest.raises(ConfigError, match=r"not a list such as \['a.wav', 'b.wav'\]"):
            clapsep.read(path)


def test_audiosep_segments(write) -> None:
    path = write(
        "audiocaps_eval.csv",
        'idx,caption,labels,src_wav,noise_wav\r\n7,"A bell, far away","Bell Inside, public space",Ya.wav,Yb.wav\r\n',
    )
    (example,) = audiosep.read_segments(path, label="labels")
    assert example == Example(
        "7",
        "A bell, far away",
        label="Bell Inside, public space",
        target="Ya.wav",
        interferers=("Yb.wav",),
        mixture="mixture-7.wav",
        reference="segment-7.wav",
    )
    with pytest.raises(ConfigError, match="has two examples named 7"):
        audiosep.read_segments(write("twice.csv", path.read_text() + "7,again,Bell,Ya.wav,Yb.wav\n"))
    with pytest.raises(ConfigError, match="lacks the column labels; it has idx, caption, src_wav, noise_wav"):
        audiosep.read_segments(write("esc.csv", "idx,caption,src_wav,noise_wav\n0,dog,a.wav,b.wav\n"), label="labels")
    with pytest.raises(ConfigError, match="names no interferer"):
        audiosep.read_segments(write("none.csv", "idx,caption,src_wav\n0,dog,a.wav\n"))


def test_audiosep_names_both_interferers_of_clotho_alike(write) -> None:
    path = write(
        "clotho_eval.csv",
        'idx,caption,src_wav,noise_wav1,noise_wav1\r\n0,A machine.,Motor.wav,"09_Foz, river.wav",FR.Hum.26.wav\r\n',
    )
    (example,) = audiosep.read_segments(path)
    assert example.interferers == ("09_Foz, river.wav", "FR.Hum.26.wav")
    assert example.label == ""


def test_audiosep_audioset(write) -> None:
    start = '0,Speech,"evaluation/data/audioset/class_id=0/class_id=0,index=00'
    path = write(
        "audioset_eval.csv",
        f'idx,caption,src_wav,noise_wav\r\n{start}0,source.wav",'
        f'"evaluation/data/audioset/class_id=0/class_id=0,index=000,mixture.wav"\r\n',
    )
    (example,) = audiosep.read_audioset(path)
    assert example.reference == "class_id=0/class_id=0,index=000,source.wav"
    assert example.mixture == "class_id=0/class_id=0,index=000,mixture.wav"
    assert (example.target, example.label) == ("", "Speech")
    with pytest.raises(ConfigError, match="in AudioSep's list of AudioSet it is the mixture"):
        audiosep.read_audioset(write("esc.csv", "idx,caption,src_wav,noise_wav\n0,dog,a.wav,b.wav\n"))


def test_audiosep_vggsound(write) -> None:
    path = write(
        "vggsound_eval.csv",
        "file_id,mix_wav,s0_wav,s0_text,s1_wav,s1_text\n"
        "-a+++b,data/mix_wav/-a+++b.wav,data/s0_wav/-a+++b.wav,playing harp,data/s1_wav/-a+++b.wav,sea lion barking\n",
    )
    (example,) = audiosep.read_vggsound(path)
    assert (example.example_id, example.text, example.exclude) == ("-a+++b", "playing harp", "sea lion barking")
    assert example.mixture == "data/mix_wav/-a+++b.wav"
    assert example.reference == example.target == "data/s0_wav/-a+++b.wav"
    assert example.interferers == ("data/s1_wav/-a+++b.wav",)


def test_dcase_goes_by_position(write) -> None:
    path = write("lass_synthetic_validation.csv", "source,noise,snr,whatever\n123,4.5,-15,A bell rings.\n")
    (example,) = dcase.read_validation(path)
    assert example == Example("0", "A bell rings.", target="123.wav", interferers=("4.5.wav",), snr_db=-15.0)
    with pytest.raises(ConfigError, match="the ratio of 123 and 4 is 'loud': it is a number"):
        dcase.read_validation(write("a.csv", "source,noise,snr,caption\n123,4,loud,A bell.\n"))
    with pytest.raises(ConfigError, match="has 2 columns"):
        dcase.read_validation(write("b.csv", "wav,query\nx.wav,A bell.\n"))
    with pytest.raises(ConfigError, match=r"snr_db is nan"):
        dcase.read_validation(write("c.csv", "source,noise,snr,caption\n123,4,nan,A bell.\n"))

    (hidden,) = dcase.read_evaluation(write("lass_real_evaluation.csv", 'wav,query\nx.wav,"Birds, far"\n'))
    assert hidden == Example("0", "Birds, far", mixture="x.wav")


def test_flowsep_draws_interferers(write) -> None:
    lines = [
        {"wav": f"metadata-master/audiocaps/test/Y{n}.wav", "label": "/m/0", "caption": f"é {n}"} for n in range(9)
    ]
    path = write(
        "audiocaps_test.json", BOM + "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n\n"
    )
    examples = flowsep.read(path)
    assert [example.target for example in examples] == [f"Y{n}.wav" for n in range(9)]
    assert all(example.interferers != (example.target,) for example in examples)
    assert all(example.exclude == f"é {example.interferers[0][1]}" for example in examples)
    assert flowsep.read(path) == examples
    assert flowsep.read(path, seed=1) != examples
    shorter = write("fewer.json", "\n".join(json.dumps(line) for line in lines[:1]))
    with pytest.raises(ConfigError, match="fewer than two recordings"):
        flowsep.read(shorter)
    with pytest.raises(ConfigError, match="line 2: not a line of JSON with wav and caption"):
        flowsep.read(write("no.json", json.dumps(lines[0]) + "\n[]\n"))


def test_voicebank_pairs_two_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="noisy_testset_wav and clean_testset_wav or noisy and clean"):
        voicebank.read(tmp_path)
    for folder, names in {"noisy": "ab", "clean": "bc"}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"p2_{name}.wav").touch()
        (tmp_path / folder / "notes.txt").touch()
    examples = voicebank.read(tmp_path)
    assert [example.example_id for example in examples] == ["p2_a", "p2_b", "p2_c"]
    assert {example.text for example in examples} == {"speech"}
    assert (examples[0].mixture, examples[0].reference) == ("noisy/p2_a.wav", "clean/p2_a.wav")


def test_a_list_of_ones_own(write, tmp_path: Path) -> None:
    examples = [
        Example(
            "one", "a dog", "rain", "dog", "a.wav", ("b.wav", "c, d.wav"), like=("e.wav",), snr_db=-5.0, start_s=0.25
        ),
        Example("two", 'a "big" bell', mixture="m.wav", reference="r.wav"),
    ]
    checks = {example.example_id: dict.fromkeys(plain.CHECKS, "1") for example in examples}
    path = tmp_path / "list.csv"
    plain.write(path, examples, checks)
    assert plain.read(path) == examples

    (least,) = plain.read(write("least.csv", "example_id,text,target,interferers\nx,a dog,a.wav,b.wav\n"))
    assert least == Example("x", "a dog", target="a.wav", interferers=("b.wav",))
    with pytest.raises(ConfigError, match="has a column 'excluded'; there are example_id, text, exclude"):
        plain.read(write("typo.csv", "example_id,text,mixture,excluded\nx,a dog,m.wav,rain\n"))
    with pytest.raises(ConfigError, match="start_s of x is 'early'"):
        plain.read(write("early.csv", "example_id,text,mixture,start_s\nx,a dog,m.wav,early\n"))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "asks for nothing"),
        ({"text": "a dog"}, "neither recordings to mix nor a mixture"),
        ({"text": "a dog", "target": "a.wav"}, "has no interferers"),
        ({"text": "a dog", "interferers": ("b.wav",)}, "has no target"),
        ({"text": "a dog", "target": "a.wav", "interferers": ("b.wav",), "reference": "r.wav"}, "no mixture"),
        ({"text": "a dog", "mixture": "m.wav", "start_s": -1.0}, "start_s is -1.0"),
    ],
)
def test_an_example_that_is_none(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Example("x", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b\n1\n", "line 2: 1 values for 2 columns"),
        ("a,b\n1,2\n\n1,2,3\n", "line 4: 3 values for 2 columns"),
        ('a,b\n"1,2\n', "cannot read"),
        ("a,c\n1,2\n", "lacks the column b; it has a, c"),
        ("\udcff,b\n", "cannot read"),
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=complaint):
        read_rows(path, required=("b",))


def test_a_list_without_rows_or_a_file(write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lists no mixture"):
        clapsep.read(write("a.csv", CLAPSEP.splitlines()[0]))
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.csv"):
        clapsep.read(tmp_path / "nowhere.csv")


def test_every_benchmark_says_what_it_is() -> None:
    from soundsieve.metrics.table import METRICS

    for name, benchmark in BENCHMARKS.items():
        assert find(name) is benchmark
        assert benchmark.audio_at
        assert benchmark.licence
        assert benchmark.made
        assert set(benchmark.metrics) <= set(METRICS)
        for score in benchmark.scores:
            assert set(score.values) <= set(METRICS)
            assert score.source.startswith("https://")
    with pytest.raises(ConfigError, match="no benchmark 'esc'; there are clapsep-audiocaps"):
        find("esc")
