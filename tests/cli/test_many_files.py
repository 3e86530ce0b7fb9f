"""Files, folders, patterns and pipes; names; what is there already; several at once."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from identity_system import IdentitySystem
from signals import tone_and_noise

from soundsieve import audio
from soundsieve.cli import batch
from soundsieve.cli.inputs import Input, find_inputs
from soundsieve.cli.screen import Screen
from soundsieve.errors import AudioError, QueryError
from soundsieve.naming import slugs


def written() -> list[str]:
    return sorted(str(path.relative_to("sieved")) for path in Path("sieved").rglob("*") if path.is_file())


def test_folders_are_searched_if_asked(soundsieve, recording) -> None:
    for name in ("field/a.wav", "field/deep/er/b.flac", "field/deep/.hidden.wav", "field/.git/c.wav", "d.wav"):
        recording(name)
    Path("field/notes.txt").write_text("no recording")
    Path("field/program.ts").write_text("nor this")
    code, out, err = soundsieve("extract", "a dog", "field", "d.wav")
    assert (code, out) == (1, "sieved/d.a-dog.wav\n")
    assert "field is a folder: --recursive takes the recordings in it" in err
    code, out, _ = soundsieve("extract", "a dog", "field", "--recursive")
    assert (code, out.splitlines()) == (0, ["sieved/a.a-dog.wav", "sieved/deep/er/b.a-dog.flac"])
    code, out, _ = soundsieve("extract", "a dog", ".", "-r", "--force")  # what was written there is no recording
    assert (code, len(out.splitlines())) == (0, 3)
    Path("empty").mkdir()
    code, _, err = soundsieve("extract", "a dog", "empty", "-r")
    assert (code, err) == (1, "soundsieve: there are no recordings in empty\n")
    assert soundsieve("extract", "--like", "d.wav", "field", "-r", "--force")[0] == 0


def test_answers_in_the_folder_that_is_searched(soundsieve, recording) -> None:
    for name in ("rec/a.wav", "rec/deep/b.flac"):
        recording(name)
    recording("c.wav").rename("rec/c.snd")
    answers = ["rec/a.a-dog.wav", "rec/c.a-dog.wav", "rec/deep/b.a-dog.flac"]
    command = ("extract", "a dog", "rec", "-r", "-o", "rec")
    assert soundsieve(*command)[:2] == (0, "".join(f"{answer}\n" for answer in answers))
    Path(answers[1]).unlink()
    before = Path(answers[0]).stat().st_mtime_ns
    for option in ("", "-r"):  # the folder, and a pattern
        code, out, err = soundsieve(*command[:2], "rec" if option else "rec/*.*", *command[3:], "--skip-existing")
        assert code == 0, err
        assert out == ("" if option else "rec/c.a-dog.wav\n")
    everything = sorted(str(path) for path in Path("rec").rglob("*.*"))
    assert everything == sorted([*answers, "rec/a.wav", "rec/c.snd", "rec/deep/b.flac"])
    code, out, err = soundsieve(*command)
    assert (code, out) == (1, "")
    assert "rec/a.a-dog.wav exists" in err
    code, out, err = soundsieve(*command, "--force")
    assert (code, out) == (1, "")
    assert "would replace the recording rec/a.a-dog.wav" in err
    assert Path(answers[0]).stat().st_mtime_ns == before
    assert soundsieve(*command[:2], answers[0], "-o", "rec")[1] == "rec/a.a-dog.a-dog.wav\n"  # asked for by name


def test_patterns_that_the_shell_left_alone(soundsieve, recording) -> None:
    for name in ("b.wav", "a.wav", "c.flac", "deep/d.wav", "odd[1].wav"):
        recording(name)
    assert [one.name for one in find_inputs(["*.wav", "a.wav", "./b.wav"], recursive=False)] == [
        "a.wav",
        "b.wav",
        "odd[1].wav",
    ]
    assert [one.name for one in find_inputs(["**/d.*"], recursive=False)] == ["deep/d.wav"]
    assert [one.name for one in find_inputs(["odd[1].wav"], recursive=False)] == ["odd[1].wav"]  # a name first
    code, out, err = soundsieve("extract", "a dog", "x*.wav", "?.wav")
    assert (code, len(out.splitlines())) == (1, 2)
    assert "soundsieve: no file matches x*.wav" in err


def test_names_by_a_template(soundsieve, recording) -> None:
    recording("street.flac")
    for template, name in {
        "{query}/{stem}.{ext}": "a-dog-without-rain/street.flac",
        "{model}_{part}_{stem}.{ext}": "model0_target_street.flac",
        "{stem}.wav": "street.wav",
        "plain.{ext}": "plain.flac",
    }.items():
        code, out, _ = soundsieve("extract", "a dog", "street.flac", "-x", "rain", "--template", template)
        assert (code, out) == (0, f"sieved/{name}\n")
        assert audio.probe(out.strip()).format == ("WAV" if name.endswith("wav") else "FLAC")
    code, out, _ = soundsieve("extract", "a dog", "street.flac", "--residual", "--template", "{stem}-{part}.{ext}")
    assert out.splitlines() == ["sieved/street-target.flac", "sieved/street-rest.flac"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{name}.{ext}",
            "the template has {name}, which is unknown: there are {stem}, {query}, {part}, {model}, {ext}",
        ),
        ("{stem.__class__}.{ext}", "the template has {stem.__class__}, which is unknown"),
        ("{stem!r}.{ext}", "which is unknown"),
        ("{stem", "cannot be read"),
        ("{}.wav", "which is unknown"),
        ("{stem}", "names no kind of file: end it in .{ext}"),
        ("{stem}.txt", "names no kind of file"),
    ],
)
def test_templates_that_cannot_be_meant(soundsieve, recording, template: str, message: str) -> None:
    recording("street.wav")
    code, out, err = soundsieve("extract", "a dog", "street.wav", "--template", template)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_both_parts_need_names_of_their_own(soundsieve, recording) -> None:
    recording("street.wav")
    for options in (("--template", "{stem}.{ext}"), ("-o", "dog.wav")):
        code, _, err = soundsieve("extract", "a dog", "street.wav", "--residual", *options)
        assert code == 2
        assert "would hold both target and rest" in err
    assert not Path("dog.wav").exists()


def test_one_file_by_its_name(soundsieve, recording) -> None:
    recording("street.wav", channels=2)
    code, out, _ = soundsieve("extract", "a dog", "street.wav", "-o", "answers/dog.flac")
    assert (code, out) == (0, "answers/dog.flac\n")
    assert (audio.probe("answers/dog.flac").format, audio.probe("answers/dog.flac").channels) == ("FLAC", 2)
    recording("market.wav")
    code, _, err = soundsieve("extract", "a dog", "street.wav", "market.wav", "-o", "dog.wav")
    assert code == 2
    assert "dog.wav is one file and takes the answer to one recording, not to 2" in err
    Path("folder.wav").mkdir()
    assert soundsieve("extract", "a dog", "street.wav", "-o", "folder.wav")[1] == "folder.wav/street.a-dog.wav\n"


def test_other_formats_on_request(soundsieve, recording) -> None:
    recording("street.wav", subtype="PCM_24")
    for options, kind in {
        ("--format", "flac"): ("FLAC", "PCM_24"),
        ("--subtype", "float"): ("WAV", "FLOAT"),
        ("--subtype", "int16", "--format", "aiff"): ("AIFF", "PCM_16"),
        ("--subtype", "FLOAT64", "--format", "caf"): ("CAF", "DOUBLE"),
        ("--format", "mp3"): ("MP3", "MPEG_LAYER_III"),
        ("--format", "opus"): ("OGG", "OPUS"),
    }.items():
        code, out, _ = soundsieve("extract", "a dog", "street.wav", *options, "--force")
        assert code == 0
        info = audio.probe(out.strip())
        assert (info.format, info.subtype) == kind
    code, _, err = soundsieve("extract", "a dog", "street.wav", "--subtype", "int17")
    assert (code, err.count("\n")) == (2, 1)
    assert "no sample format 'int17'" in err
    code, _, err = soundsieve("extract", "a dog", "street.wav", "--subtype", "float", "--format", "flac", "--force")
    assert code == 1
    assert "FLAC does not hold FLOAT" in err
    code, _, err = soundsieve("extract", "a dog", "street.wav", "--format", "xyz")
    assert (code, err.count("\n")) == (2, 1)
    code, _, err = soundsieve("extract", "a dog", "street.wav", "--format", "flac", "-o", "a.wav")
    assert code == 2
    assert "--format is flac, and the name asked for ends in .wav" in err


def test_kinds_of_wav_and_names_without_a_suffix(soundsieve, recording) -> None:
    soundfile.write("wide.wav", tone_and_noise(0.2, 16000, 3).T, 16000, format="WAVEX", subtype="PCM_24")
    soundfile.write("huge.wav", tone_and_noise(0.2, 16000).T, 16000, format="RF64", subtype="PCM_16")
    recording("street.flac").rename("recording")
    recording("a.au").rename("a.snd")
    code, out, err = soundsieve("extract", "a dog", "wide.wav", "huge.wav", "recording", "a.snd")
    assert code == 0
    assert [audio.probe(line).format for line in out.splitlines()] == ["WAVEX", "RF64", "FLAC", "AU"]
    assert out.splitlines()[2:] == ["sieved/recording.a-dog.flac", "sieved/a.a-dog.au"]
    assert "a.snd: '.snd' cannot be written, so the answer is a .au file" in err


def test_samples_past_full_scale(soundsieve, recording, make_model) -> None:
    recording("street.wav")
    loud = make_model(gain=4.0)
    for mode, said in {
        "rescale": "turned down by",
        "clamp": "samples past full scale were clamped",
        "none": "float",
    }.items():
        code, out, err = soundsieve("extract", "a dog", "street.wav", "--model", loud, "--clip-mode", mode, "--force")
        assert code == 0
        assert said in err
        assert np.abs(audio.decode(out.strip())[0]).max() <= 1.0 or mode == "none"
    assert soundsieve("extract", "a dog", "street.wav", "--clip-mode", "wrap")[0] == 2


def test_an_interrupted_batch_goes_on(soundsieve, recording, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        recording(f"{name}.wav")
    assert soundsieve("extract", "a dog", "a.wav", "--residual")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in Path("sieved").iterdir()}
    Path("sieved/a.a-dog.rest.wav").unlink()
    soundsieve("extract", "a dog", "b.wav", "--residual")
    code, out, err = soundsieve("extract", "a dog", "a.wav", "b.wav", "c.wav", "--residual", "--skip-existing")
    assert code == 0
    assert [Path(line).name[0] for line in out.splitlines()] == ["a", "a", "c", "c"]
    assert "1 of 3 recordings left out: their answers are there already" in err
    assert Path("sieved/a.a-dog.wav").stat().st_mtime_ns == before[Path("sieved/a.a-dog.wav")]  # only what was missing
    assert len(written()) == 6
    monkeypatch.setattr(IdentitySystem, "forward", None)  # nothing is computed
    assert soundsieve("extract", "a dog", "a.wav", "b.wav", "c.wav", "--residual", "--skip-existing")[:2] == (0, "")
    code, _, err = soundsieve("extract", "a dog", "a.wav", "--skip-existing", "--force")
    assert code == 2
    assert "give one of them" in err


def test_one_line_of_json_for_each(soundsieve, recording, make_model) -> None:
    recording("a.wav")
    recording("ü \n.flac", 0.5)
    Path("bad.wav").write_text("not audio")
    code, out, err = soundsieve("extract", "a dog", "a.wav", "bad.wav", "ü \n.flac", "--json")
    first, bad, last = map(json.loads, out.splitlines())
    assert code == 1
    assert set(first) == {"path", "outputs", "presence", "spans", "seconds", "took_s", "notes", "error", "skipped"}
    assert (first["path"], first["outputs"], first["presence"]) == ("a.wav", ["sieved/a.a-dog.wav"], pytest.approx(0.9))
    assert first["spans"] == [{"start": 0.0, "end": pytest.approx(0.3), "score": pytest.approx(0.9)}]
    assert (first["seconds"], first["error"], first["notes"]) == (pytest.approx(0.3), None, [])
    assert (bad["outputs"], bad["presence"], bad["spans"]) == ([], None, None)
    assert "bad.wav is damaged or not a recording" in bad["error"]
    assert last["path"] == "ü \n.flac"
    assert Path(last["outputs"][0]).exists()
    assert "soundsieve: 1 of 3 recordings failed" in err
    absent = make_model(presence=0.1, gain=2.5)
    _, out, err = soundsieve("extract", "a dog", "a.wav", "--json", "--model", absent, "--force")
    note = json.loads(out)["notes"]
    assert "32-bit float" in note[0]
    assert note[1] == "no 'a dog' found in a.wav (presence 0.10)"
    assert err == ""
    assert json.loads(soundsieve("extract", "a dog", "a.wav", "--json", "--skip-existing")[1])["skipped"] is True


def test_several_at_once_are_as_one_after_the_other(soundsieve, recording) -> None:
    names = [str(recording(f"{i}.wav", 0.2 + 0.3 * (i % 3), 8000 + 1000 * i)) for i in range(6)]
    Path("1.wav").write_text("not audio")
    code, out, err = soundsieve("extract", "a dog", *names, "-o", "one")
    many = soundsieve("extract", "a dog", *names, "-o", "all", "--jobs", "3", "--threads", "1")
    assert many == (code, out.replace("one/", "all/"), err)
    assert code == 1
    for path in Path("one").iterdir():
        assert path.read_bytes() == (Path("all") / path.name).read_bytes()


def test_interruption_stops_the_work_of_all_threads(here: Path) -> None:
    working, ended = threading.Barrier(3, timeout=20), []

    def work(report: batch.Report, advance: batch.Advance) -> None:
        try:
            working.wait()
            while True:
                advance(0.0, None)
        finally:
            ended.append(report.path)

    def reports() -> None:
        for _ in batch.run([Input(f"{i}") for i in range(5)], prepare, jobs=2, screen=Screen(5, quiet=True)):
            pass

    def prepare(item: Input, report: batch.Report) -> batch.Work:
        if item.name == "2":
            working.wait()
            raise KeyboardInterrupt
        return work

    with pytest.raises(KeyboardInterrupt):
        reports()
    assert sorted(ended) == ["0", "1"]


def test_work_ends_where_telling_fails(here: Path) -> None:
    started, ended = threading.Event(), threading.Event()

    def work(report: batch.Report, advance: batch.Advance) -> None:
        if report.path == "0":
            assert started.wait(20)
            return
        started.set()
        try:
            while True:
                advance(0.0, None)
        finally:
            ended.set()

    class Deaf(Screen):
        def out(self, line: str) -> None:
            raise BrokenPipeError

    screen = Deaf(3, quiet=True)
    reports = batch.run([Input(f"{i}") for i in range(3)], lambda *_: work, jobs=2, screen=screen)
    with pytest.raises(BrokenPipeError):
        batch.tell(reports, screen, as_json=True)
    assert ended.is_set()


def test_errors_of_the_request_and_of_one_recording(here: Path) -> None:
    def run(error: Exception) -> list[batch.Report]:
        def fail(*_: object) -> None:
            raise error

        return list(batch.run([Input("a"), Input("b")], lambda *_: fail, jobs=1, screen=Screen(2, quiet=True)))

    assert [report.error for report in run(AudioError("broken"))] == ["broken", "broken"]
    assert "not enough memory for a" in str(run(MemoryError())[0].error)
    assert "not enough memory for a" in str(run(RuntimeError("CUDA out of memory. Tried"))[0].error)
    for error in (QueryError("what?"), RuntimeError("a mistake of ours")):
        with pytest.raises(type(error)):
            run(error)


class Standard(io.TextIOWrapper):
    """Stands for standard input or output."""

    def __init__(self, content: bytes = b"", terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content), "utf-8")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_standard_input_and_output(soundsieve, recording, monkeypatch: pytest.MonkeyPatch) -> None:
    recording("street.flac", channels=2, subtype="PCM_24")
    content = Path("street.flac").read_bytes()
    soundsieve("extract", "a dog", "street.flac", "-o", "expected.flac")
    expected, _ = audio.decode("expected.flac")
    for arguments, source in ((["-"], content), (["street.flac", "-o", "-"], b"")):
        out = Standard()
        monkeypatch.setattr(sys, "stdin", Standard(source))
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out)
            code, _, err = soundsieve("extract", "a dog", *arguments)
        assert code == 0
        assert err in ("standard input: 0.0-0.3 s\n", "street.flac: 0.0-0.3 s\n")
        info = audio.probe(out.buffer.getvalue())
        assert (info.format, info.subtype, info.channels) == ("FLAC", "PCM_24", 2)
        np.testing.assert_array_equal(audio.decode(out.buffer.getvalue())[0], expected)
    monkeypatch.setattr(sys, "stdin", Standard(content))
    _, out, err = soundsieve("extract", "a dog", "-", "-o", "answers", "--threshold", 1)
    assert (out, err) == ("answers/stdin.a-dog.flac\n", "no 'a dog' found in standard input (presence 0.90)\n")
    monkeypatch.setattr(sys, "stdin", Standard(content))
    assert soundsieve("find", "a dog", "-")[1] == "-:0.00-0.30  0.90\n"
    for name in ("a.wav", "street.flac"):
        recording(name)
    for arguments, message in {
        ("-", "--json"): "--json and the sound itself cannot share standard output",
        ("-", "--residual"): "standard output takes one of target and rest",
        ("a.wav", "street.flac", "-o", "-"): "standard output takes the answer to one recording, not to 2",
    }.items():
        code, _, err = soundsieve("extract", "a dog", *arguments)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", Standard(terminal=True))
        code, _, err = soundsieve("extract", "a dog", "a.wav", "-o", "-")
    assert code == 2
    assert "standard output is a terminal" in err
    monkeypatch.setattr(sys, "stdin", Standard(terminal=True))
    code, _, err = soundsieve("extract", "a dog", "-", "-o", "answers")
    assert (code, err) == (1, "soundsieve: standard input is a terminal: pipe a recording into it, or name a file\n")


def test_a_reader_who_leaves_is_no_error(soundsieve, recording, monkeypatch: pytest.MonkeyPatch) -> None:
    recording("a.wav")

    class Gone(io.BytesIO):
        def write(self, _: object) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    for command in (
        ("extract", "a dog", "a.wav"),
        ("extract", "a dog", "a.wav", "-o", "-"),
        ("find", "a dog", "a.wav"),
    ):
        out = io.TextIOWrapper(gone := Gone(), "utf-8")
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", out)
            code, _, err = soundsieve(*command)
        gone.write = lambda data: len(data)  # type: ignore[method-assign]  # it is closed in the end
        assert (code, err) == (141, "")


def test_names_that_are_no_text(soundsieve, recording) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        shutil.copy(recording("a.wav"), name)
    except OSError:
        pytest.skip("this file system takes text only")
    code, out, _ = soundsieve("extract", "a dog", name, "--json", "--quiet")
    assert code == 0
    assert Path(json.loads(out)["outputs"][0]).exists()


def test_slugs_differ() -> None:
    assert slugs(["a dog", "A dog!", "rain", "rest"], taken=["rest"]) == ["a-dog", "a-dog-2", "rain", "rest-2"]
