from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from language_model import save_tiny_model

from soundsieve.errors import ConfigError
from soundsieve.training.captions import writing
from soundsieve.training.captions.cleaning import Cleaner, fault, key_words, strip_marks
from soundsieve.training.captions.language_model import Answer
from soundsieve.training.captions.local_model import LocalModel
from soundsieve.training.captions.prompts import CAPTIONS_EACH, Prompts, read_labels
from soundsieve.training.captions.writing import ask_for_captions

LABELS = ["dog barking", "rain", "church bell"]


class Scripted:
    """A model that says two new captions, and one that it says each time; and that fails when it is told to."""

    name, batch_size = "scripted", 2

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.asked: list[str] = []

    def answer(self, system: str, prompts: Sequence[str], first: int) -> Iterator[list[Answer]]:
        for number, prompt in enumerate(prompts, first):
            if number == self.fails_at:
                raise ConfigError("no answer from http://127.0.0.1/v1")
            self.asked.append(prompt)
            yield [Answer(f"1. A bird{number} sings.\n2. A dog{number} barks.\n3. The rain falls down")]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "captions.txt"


def test_as_many_captions_as_wanted_are_written(output: Path) -> None:
    model = Scripted()
    done = ask_for_captions(model, Prompts(LABELS), 8, output)
    lines = output.read_text("utf-8").splitlines()
    assert lines[:4] == ["A bird0 sings", "A dog0 barks", "The rain falls down", "A bird1 sings"]
    assert (done.captions, len(lines), done.asked, done.lines) == (8, 8, 4, 12)
    assert done.dropped == {"nearly the same as another": 3}
    assert model.asked == [Prompts(LABELS)[number] for number in range(4)]
    assert list(output.parent.iterdir()) == [output]


@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_a_run_that_failed_goes_on_from_there(tmp_path: Path, output: Path, number: int) -> None:
    ask_for_captions(Scripted(), Prompts(LABELS), 30, tmp_path / "whole.txt")
    first = Scripted(fails_at=number)
    with pytest.raises(ConfigError, match=rf"; {number} answers are kept, and the same command goes on from there"):
        ask_for_captions(first, Prompts(LABELS), 30, output)
    assert not output.exists()
    second = Scripted()
    done = ask_for_captions(second, Prompts(LABELS), 30, output)
    assert output.read_bytes() == (tmp_path / "whole.txt").read_bytes()
    prompts = Prompts(LABELS)
    assert first.asked + second.asked == [prompts[place] for place in range(done.asked)]


def test_a_torn_line_of_the_journal_is_asked_again(tmp_path: Path, output: Path) -> None:
    ask_for_captions(Scripted(), Prompts(LABELS), 30, tmp_path / "whole.txt")
    with pytest.raises(ConfigError):
        ask_for_captions(Scripted(fails_at=6), Prompts(LABELS), 30, output)
    journal = tmp_path / "captions.txt.answers.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    second = Scripted()
    ask_for_captions(second, Prompts(LABELS), 30, output)
    assert second.asked[0] == Prompts(LABELS)[5]
    assert output.read_bytes() == (tmp_path / "whole.txt").read_bytes()


def test_answers_to_other_requests_are_not_mixed_in(output: Path) -> None:
    with pytest.raises(ConfigError):
        ask_for_captions(Scripted(fails_at=3), Prompts(LABELS), 30, output)
    with pytest.raises(ConfigError, match="answers to other labels, another seed or model"):
        ask_for_captions(Scripted(), Prompts(LABELS, seed=1), 30, output)
    with pytest.raises(ConfigError, match="answers to other labels, another seed or model"):
        ask_for_captions(Scripted(), Prompts([*LABELS, "cat"]), 30, output)
    journal = output.with_name("captions.txt.answers.jsonl")
    journal.write_text(json.dumps({"format": "x"}) + "\nnonsense\n")
    with pytest.raises(ConfigError, match="is damaged: remove it"):
        ask_for_captions(Scripted(), Prompts(LABELS), 30, output)


def test_a_model_that_was_named_wrongly_leaves_nothing_in_the_way(output: Path) -> None:
    with pytest.raises(ConfigError, match="0 answers are kept"):
        ask_for_captions(Scripted(fails_at=0), Prompts(LABELS), 8, output)
    right = Scripted()
    right.name = "another"
    assert ask_for_captions(right, Prompts(LABELS, seed=1), 8, output).captions == 8


def test_a_model_that_says_nothing_new_is_left(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_FRUITLESS", 6)
    model = Scripted()
    model.answer = lambda system, prompts, first: iter([[Answer("Rain falls down")] * 2])  # type: ignore[method-assign]
    done = ask_for_captions(model, Prompts(LABELS), 30, output)
    assert (done.captions, done.asked) == (1, 7)
    assert output.read_text() == "Rain falls down\n"


def test_no_caption_at_all_is_an_error(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_FRUITLESS", 6)
    model = Scripted()
    model.answer = lambda system, prompts, first: iter([[Answer("I cannot hear.")] * 2])  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="scripted answered 6 requests without one caption"):
        ask_for_captions(model, Prompts(LABELS), 30, output)
    assert not output.exists()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('  12. "A dog  barks."', "A dog barks"), ("- rain falls", "rain falls"), ("(3) A cat meows!", "A cat meows"),
        ("* **Caption 4:** Wind blows", "Wind blows"), ("b) 'A man talks.'", "A man talks"),
        ("`A bell rings`", "A bell rings"), ("\u201cBirds sing \u2013 loudly\u2026\u201d", "Birds sing - loudly"),
        ("A dog's bark", "A dog's bark"), ('"A dog barks",', "A dog barks"), ("1 - A dog barks", "A dog barks"),
        ('A man says "hello"', "A man says hello"), ('A man says "hello" loudly', 'A man says "hello" loudly'),
        ("3 dogs bark", "3 dogs bark"),
        ("A 2.5 second beep", "A 2.5 second beep"), ("1.", "1"), ("", ""),
    ],
)  # fmt: skip
def test_marks_go(line: str, text: str) -> None:
    assert strip_marks(line) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A dog barks", None), ("A note is played on a piano", None), ("St. Mary's bells ring out", None),
        ("A dog barks. A cat meows", "more than one sentence"), ("A dog", "too short"), ("", "not plain English text"),
        ("a " * 31, "too long"), ("abcdefghij " * 20, "too long"), ("Sure, here are ten", "talk, not a caption"),
        ("Here are 10 captions:", "talk, not a caption"), ("What does a dog say?", "talk, not a caption"),
        ("As an AI I cannot listen", "talk, not a caption"), ("Ein Hund bellt über Köln", "not plain English text"),
        ("狗在叫 and a cat", "not plain English text"), ('{"caption": "a dog barks"}', "talk, not a caption"),
        ("1 2 3", "not plain English text"),
    ],
)  # fmt: skip
def test_what_is_no_caption_is_dropped(text: str, reason: str | None) -> None:
    assert fault(text) == reason


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("A dog is barking loudly", "The dog barks loudly", True), ("Dogs bark", "a dog barked", True),
        ("A bell rings and a man talks", "A man talking as bells ring", True),
        ("A vehicle passing by", "Vehicles pass", True),
        ("A dog barks in a park", "A cat meows in a park", False), ("A man talks", "A woman talks", False),
        ("A dog barks", "A dog barks loudly", False), ("Glass breaks", "Glasses clink", False),
    ],
)  # fmt: skip
def test_what_is_nearly_the_same(one: str, other: str, same: bool) -> None:
    assert (key_words(one) == key_words(other)) == same


def test_the_last_line_of_an_answer_that_was_stopped_is_dropped() -> None:
    cleaner = Cleaner()
    assert cleaner("A dog barks\n\nA cat meows and a wo\n", cut_off=True) == ["A dog barks"]
    assert cleaner.dropped == {"cut off": 1}


def test_requests_are_a_function_of_seed_and_number() -> None:
    prompts = Prompts(LABELS, seed=3)
    assert [prompts[place] for place in range(50)] == [Prompts(LABELS, seed=3)[place] for place in range(50)]
    assert [prompts[place] for place in range(50)] != [Prompts(LABELS, seed=4)[place] for place in range(50)]
    assert len({prompts[place] for place in range(50)}) > 45
    for turn in range(5):
        asked = "\n".join(prompts[place] for place in range(3 * turn, 3 * turn + 3))
        assert all(label in asked for label in LABELS)
    assert all(str(CAPTIONS_EACH) in prompts[place] for place in range(50))
    assert not any("{" in prompts[place] or "  " in prompts[place] for place in range(200))


def test_labels_are_read(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.wav,dog_bark\nb.wav, rain \nc.wav,dog_bark\nd.wav,\n")
    assert read_labels(tmp_path / "labels.csv") == ["dog bark", "rain"]
    (tmp_path / "labels.txt").write_text("dog\n\ncat\n")
    assert read_labels(tmp_path / "labels.txt") == ["dog", "cat"]
    (tmp_path / "other.csv").write_text("path,kind\na.wav,dog\n")
    with pytest.raises(ConfigError, match="has no column 'label', 'name' or 'display_name'; it has path, kind"):
        read_labels(tmp_path / "other.csv")
    (tmp_path / "empty.csv").write_text("label\n")
    with pytest.raises(ConfigError, match="there is no label in"):
        read_labels(tmp_path / "empty.csv")
    with pytest.raises(ConfigError, match="there is no label"):
        Prompts([])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder


def test_a_model_on_this_machine_writes(tiny: Path, output: Path) -> None:
    model = LocalModel(tiny, batch_size=4, max_tokens=40)
    done = ask_for_captions(model, Prompts(LABELS), 20, output)
    lines = output.read_text("utf-8").splitlines()
    assert done.captions == len(lines) == 20
    assert len({key_words(line) for line in lines}) == 20
    again = output.with_name("again.txt")
    ask_for_captions(LocalModel(tiny, batch_size=4, max_tokens=40), Prompts(LABELS), 20, again)
    assert again.read_bytes() == output.read_bytes()


def test_a_local_answer_does_not_repeat_the_request_and_tells_when_it_was_stopped(tiny: Path) -> None:
    model = LocalModel(tiny, max_tokens=3)
    (answers,) = model.answer("you write", ["a dog barks", "rain"], 0)
    assert [answer.cut_off for answer in answers] == [True, True]
    assert all(len(answer.text.split()) <= 3 for answer in answers)


def test_a_template_is_filled_in_one_turn_and_begins_a_talk_once(tiny: Path) -> None:
    model = LocalModel(tiny, max_tokens=3)
    tokenizer, read = model._tokenizer, []
    tokenizer.add_special_tokens({"bos_token": "<unknown>"})
    tokenizer.chat_template = (
        "{% if messages[0].role != 'user' %}{{ raise_exception('no such role') }}{% endif %}"
        "{{ bos_token }} {{ messages[0].content }}"
    )
    assert model._chat("you write", "a dog barks") == "<unknown> you write\n\na dog barks"
    model._tokenizer = lambda texts, **options: read.append(options) or tokenizer(texts, **options)
    model._tokenizer.__dict__.update(
        chat_template=tokenizer.chat_template, apply_chat_template=tokenizer.apply_chat_template,
        pad_token_id=0, eos_token_id=0, decode=tokenizer.decode,
    )  # fmt: skip
    next(model.answer("you write", ["a dog barks"], 0))
    assert read[0]["add_special_tokens"] is False


def test_what_is_no_language_model_is_refused(tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(ConfigError, match="no language model at"):
        LocalModel(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(ConfigError, match="cannot be read as a language model") as caught:
        LocalModel(tmp_path)
    assert "\n" not in str(caught.value)
    for path in tiny.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: 100 if path.suffix == ".safetensors" else None])
    with pytest.raises(ConfigError, match="cannot be read as a language model"):
        LocalModel(tmp_path)
    with pytest.raises(ConfigError, match="temperature is above 0"):
        LocalModel(tiny, temperature=0)
