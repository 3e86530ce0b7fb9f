"""The published runs of AudioSep, LASS-Net and USS at toy size: what is mixed and asked, trained and stored."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import uss_entries

from soundsieve import audio
from soundsieve.cli.main import main
from soundsieve.encoders.bert import BERT, BERTConfig
from soundsieve.encoders.clap import CLAP, CLAPConfig
from soundsieve.encoders.pann import Cnn14, Cnn14Config
from soundsieve.encoders.text import SentenceEncoder, SentenceEncoderConfig
from soundsieve.errors import ConfigError, WeightsError
from soundsieve.systems.lassnet import LASSNet
from soundsieve.systems.uss import USS, USSConfig
from soundsieve.training.build import Data, build_task
from soundsieve.training.fit import fit
from soundsieve.training.recipe import Recipe, read_recipe
from soundsieve.training.tasks.asking import AskingConfig
from soundsieve.training.tasks.resunet import AudioSepTask, LASSNetTask, ResUNetTask, USSTask
from soundsieve.weights.checkpoint import load_system
from soundsieve.weights.clap import save_clap
from soundsieve.weights.config import to_dict
from soundsieve.weights.pretrained import load_bert, load_tagger

ROOT = Path(__file__).parents[2]
TOY: dict[str, Any] = {
    "model": {"preset": "debug"}, "options.batch_size": 2, "options.mixtures.segment_s": 0.5,
    "options.validation_pairs": 2,
}  # fmt: skip
UNTRAINED = {"audiosep": {"options.clap": None}, "lassnet": {"options.text_encoder": None},
             "uss": {"options.tagger": None}}  # fmt: skip
KINDS = list(UNTRAINED)


def toy(name: str, **changes: Any) -> Recipe:
    """A published recipe, its sizes changed and nothing else."""
    kind = name.partition("/")[0]
    return read_recipe(
        ROOT / f"recipes/{name}.yaml", deepcopy(TOY) | UNTRAINED.get(kind, UNTRAINED["audiosep"]) | changes
    )


def task_of(recipe: Recipe, corpus: Path, cache: Path) -> ResUNetTask:
    task = build_task(recipe, Data(corpus, cache))
    assert isinstance(task, ResUNetTask)
    return task


# --- what is mixed ---


@pytest.mark.parametrize("name", ["audiosep/base", "dcase2024_task9/baseline"])
def test_audiosep_mixes_two_sounds_up_to_10_db_apart(name: str, corpus: Path, cache: Path) -> None:
    task = task_of(toy(name, **{"options.batch_size": 100}), corpus, cache)
    batch = task.batch(0)
    rest = batch["mixture"] - batch["target"]
    ratio_db = 10 * (batch["target"].square().sum(1) / rest.square().sum(1)).log10()
    assert -10.01 < ratio_db.min() < -8
    assert 8 < ratio_db.max() < 10.01
    assert batch["mixture"].abs().max() <= 1


def test_lassnet_matches_peaks_and_uss_powers(corpus: Path, cache: Path) -> None:
    for name in ("lassnet/base", "lassnet/frozen_bert"):
        batch = task_of(toy(name), corpus, cache).batch(0)
        rest = batch["mixture"] - batch["target"]
        torch.testing.assert_close(batch["target"].abs().amax(1), rest.abs().amax(1), atol=1e-5, rtol=0)
        torch.testing.assert_close(batch["mixture"].abs().amax(1), torch.ones(2), atol=1e-5, rtol=0)
    batch = task_of(toy("uss/base"), corpus, cache).batch(0)
    rest = batch["mixture"] - batch["target"]
    torch.testing.assert_close(batch["target"].square().sum(1), rest.square().sum(1), atol=0, rtol=1e-4)


def test_a_batch_holds_something() -> None:
    with pytest.raises(ConfigError, match="batch_size is at least 1, not 0"):
        AskingConfig(batch_size=0)


def test_the_dcase_baseline_trains_at_16_khz(corpus: Path, cache: Path, tmp_path: Path) -> None:
    """Its validation mixtures are of 32 kHz, as everybody's."""
    changes = {"model.sample_rate": 16000, "model.n_fft": 256, "model.hop_length": 40}
    recipe = toy("dcase2024_task9/baseline", max_steps=1, validate_every=1, **changes)
    task = task_of(recipe, corpus, cache)
    assert task.batch(0)["mixture"].shape == (2, 8000)
    fit(task, recipe, tmp_path, workers=0)
    assert load_system(tmp_path / "best.safetensors").sample_rate == 16000


# --- what is asked ---


def test_audiosep_is_asked_in_words_or_by_the_target(corpus: Path, cache: Path, monkeypatch: Any) -> None:
    task = task_of(toy("audiosep/base", **{"options.text_ratio": 0.5}), corpus, cache)
    in_words = torch.stack([task.batch(step)["in_words"] for step in range(60)]).float().mean().item()
    assert in_words == pytest.approx(0.5, abs=0.2)  # three standard deviations
    system, batch = task.module, task.batch(0)
    assert isinstance(task, AudioSepTask)
    words = system.clap.embed_text([task.sampler.texts[i] for i in batch["text"].tolist()])
    torch.testing.assert_close(task.embedding(system, batch | {"in_words": torch.tensor(True)}), words)
    heard = system.embed_audio(batch["target"])
    torch.testing.assert_close(task.embedding(system, batch | {"in_words": torch.tensor(False)}), heard)

    always = task_of(toy("audiosep/base"), corpus, cache)
    assert all(always.batch(step)["in_words"] for step in range(20))
    with pytest.raises(ConfigError, match="text_ratio is a share"):
        task_of(toy("audiosep/base", **{"options.text_ratio": 1.5}), corpus, cache)


def test_uss_is_asked_by_what_its_tagger_hears_in_the_target(corpus: Path, cache: Path) -> None:
    task = task_of(toy("uss/base"), corpus, cache)
    assert isinstance(task, USSTask)
    assert isinstance(task.module, USS)
    batch = task.batch(0)
    probabilities, classes = task.embedding(task.module, batch).chunk(2, dim=1)
    torch.testing.assert_close(probabilities, task.module.tag(batch["target"]))
    assert not classes.any()


def test_uss_is_judged_in_the_segments_and_at_the_rate_that_it_has(corpus: Path, cache: Path) -> None:
    """Validation mixtures are longer, and of 32 kHz."""
    changes = {
        "model.sample_rate": 16000,
        "model.tagger": {**to_dict(Cnn14Config.debug()), "sample_rate": 16000, "fmax_hz": 8000},
    }
    task = task_of(toy("uss/base", **changes), corpus, cache)
    lengths = set()
    task.module.network.register_forward_pre_hook(lambda _, given: lengths.add(given[0].shape[1]))
    assert np.isfinite(task.validate(task.module)["score"])
    assert lengths == {8000}
    assert task.module.training


# --- what is trained ---


def gradients(task: ResUNetTask) -> set[str]:
    """Names of the parameters that a step gives a gradient other than zero."""
    task.loss(task.module, task.batch(0), 0)["loss"].backward()
    return {name for name, p in task.module.named_parameters() if p.grad is not None and bool(p.grad.any())}


def test_the_ablation_of_lassnet_is_one_line(corpus: Path, cache: Path) -> None:
    """Gradients reach BERT in one, and its Linear and the network in both."""
    together, frozen = (read_recipe(ROOT / f"recipes/lassnet/{name}.yaml") for name in ("base", "frozen_bert"))
    assert together.options.pop("train_text_encoder") is True
    assert frozen.options.pop("train_text_encoder") is False
    assert together == frozen
    for name, reached in (("base", True), ("frozen_bert", False)):
        task = task_of(toy(f"lassnet/{name}"), corpus, cache)
        names = gradients(task)
        assert any(name.startswith("text.bert.layers.0.attention") for name in names) is reached
        assert ("text.bert.embeddings.word_embeddings.weight" in names) is reached
        assert "text.project.weight" in names
        assert any(name.startswith("net.") for name in names)
        assert isinstance(task.module, LASSNet)
        assert task.module.train().text.bert.training is reached


def test_a_frozen_sentence_encoder_is_asked_once(corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SentenceEncoderConfig.debug()
    model = {
        "text": {"vocab_size": text.vocab_size, "hidden": 32, "layers": 1, "heads": 2, "intermediate": 64},
        "resunet": {"condition": 384, "channels": [2, 4], "strides": [[2, 4], [1, 2]], "maps": 1},
    }
    changes = {"model": model, "options.train_text_encoder": False}
    task = task_of(toy("lassnet/base", **changes), corpus, cache)
    assert not any(name.startswith("text.") for name in gradients(task))
    monkeypatch.setattr(SentenceEncoder, "forward", None)
    task.loss(task.module, task.batch(1), 1)
    trained = task_of(toy("lassnet/base", **changes | {"options.train_text_encoder": True}), corpus, cache)
    monkeypatch.undo()
    assert "text.project.weight" in gradients(trained)


def test_every_loss_can_be_chosen(corpus: Path, cache: Path) -> None:
    values = {}
    for loss in ("l1", "magnitude", "sdr"):
        task = task_of(toy("lassnet/base", **{"options.loss": loss}), corpus, cache)
        values[loss] = task.loss(task.module, task.batch(0), 0)["loss"].item()
    assert len(set(values.values())) == 3
    with pytest.raises(ConfigError, match=r"options\.loss: 'l2' is not one of"):
        task_of(toy("lassnet/base", **{"options.loss": "l2"}), corpus, cache)


def test_the_dcase_baseline_is_audiosep_at_16_khz() -> None:
    ours, theirs = (
        read_recipe(ROOT / f"recipes/{name}.yaml") for name in ("dcase2024_task9/baseline", "audiosep/base")
    )
    assert ours.model == theirs.model | {"sample_rate": 16000, "n_fft": 1024, "hop_length": 160}
    assert ours.options["mixtures"] == theirs.options["mixtures"] | {"segment_s": 10.0}
    assert (ours.options["batch_size"], ours.max_steps) == (16, 200_000)


# --- what is stored ---


@pytest.mark.parametrize(("name", "frozen"), [("audiosep/base", "clap"), ("lassnet/frozen_bert", "text.bert"),
                                              ("uss/base", "tagger"), ("lassnet/base", None)])  # fmt: skip
def test_what_is_frozen_is_in_the_product_and_not_in_checkpoints(
    name: str, frozen: str | None, corpus: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The product answers a query on the command line."""
    recipe = toy(name, max_steps=1, validate_every=1)
    task = task_of(recipe, corpus, cache)
    fit(task, recipe, tmp_path, workers=0)
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert not frozen or not any(key.startswith(f"module.{frozen}.") for key in stored)
    assert len(stored) == len(task.module.state_dict()) - len(task.rebuilt)
    street = tmp_path / "street.wav"
    audio.encode(street, (0.3 * np.random.default_rng(0).standard_normal((1, 32000))).astype(np.float32), 32000)
    asked = ["--like", str(street)] if name.startswith("uss") else ["wind"]
    with pytest.raises(SystemExit) as end:
        main(
            ["extract", *asked, str(street), "--model", str(tmp_path / "best.safetensors"), "-o", str(tmp_path / "out")]
        )
    assert not end.value.code, capsys.readouterr().err
    assert list((tmp_path / "out").iterdir())


def test_a_run_on_another_clap_is_not_resumed(corpus: Path, cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "clap.safetensors"
    torch.manual_seed(1)
    save_clap(path, CLAP(CLAPConfig.debug()))
    recipe = toy("audiosep/base", max_steps=1, **{"options.clap": str(path)})
    fit(task_of(recipe, corpus, cache), recipe, tmp_path, workers=0)
    torch.manual_seed(2)
    save_clap(path, CLAP(CLAPConfig.debug()))
    with pytest.raises(ConfigError, match="was trained on the frozen network"):
        fit(task_of(recipe, corpus, cache), recipe, tmp_path, workers=0, resume=tmp_path / "last.ckpt")


# --- what training starts from ---


@pytest.mark.parametrize("name", ["audiosep/base", "lassnet/frozen_bert", "uss/base"])
def test_training_goes_on_from_a_product(name: str, corpus: Path, cache: Path, tmp_path: Path) -> None:
    recipe = toy(name, max_steps=1, validate_every=1)
    first = task_of(recipe, corpus, cache)
    fit(first, recipe, tmp_path, workers=0)
    whole, kind = str(tmp_path / "last.safetensors"), recipe.task
    again = task_of(toy(name, **{"options.init": whole}), corpus, cache)
    for key, value in load_system(whole).state_dict().items():
        assert torch.equal(value, again.module.state_dict()[key]), key
    encoder = {"audiosep": "clap", "lassnet": "text_encoder", "uss": "tagger"}[kind]
    for changes, message in (
        ({f"options.{encoder}": "file"}, "brings its own encoder along: set the option that names file to null"),
        ({"model.hop_length": 128}, f"holds a {kind} of another shape"),
        ({"options.init": str(ROOT / "src/soundsieve/embedded/starter.safetensors")}, f"holds a sieve, not a {kind}"),
    ):
        with pytest.raises(ConfigError, match=message):
            task_of(toy(name, **{"options.init": whole} | changes), corpus, cache)


def hub_bert(bert: BERT, prefix: str = "", *, old: bool = False) -> dict[str, torch.Tensor]:
    """As the hub keeps a BERT, heads included; before 2020 with TensorFlow's names for norms."""
    state = {f"{prefix}{k.replace('layers.', 'encoder.layer.', 1)}": v.clone() for k, v in bert.state_dict().items()}
    state[f"{prefix}embeddings.position_ids"] = torch.arange(64)[None]
    state[f"{prefix}pooler.dense.weight"] = torch.zeros(2, 2)
    state |= {"cls.predictions.bias": torch.zeros(3)} if prefix else {}
    if old:
        swaps = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for new, was in swaps.items():
            state = {key.replace(new, was): value for key, value in state.items()}
    return state


def test_bert_is_read_from_all_files_that_the_hub_has(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    published, ours = BERT(BERTConfig.debug()), BERT(BERTConfig.debug())
    torch.save(hub_bert(published, old=True), tmp_path / "pytorch_model.bin")
    torch.save(hub_bert(published, "bert."), tmp_path / "heads.bin")
    for source in (tmp_path, tmp_path / "heads.bin"):
        for parameter in ours.parameters():
            torch.nn.init.zeros_(parameter)
        load_bert(ours, source)
        for name, value in published.state_dict().items():
            assert torch.equal(value, ours.state_dict()[name]), name
    other = BERT(BERTConfig.debug())
    save_file(hub_bert(other), tmp_path / "model.safetensors")
    load_bert(ours, tmp_path)  # the first choice of the two
    assert torch.equal(
        other.state_dict()["layers.0.output.dense.weight"], ours.state_dict()["layers.0.output.dense.weight"]
    )


def test_what_is_no_bert_is_refused(tmp_path: Path) -> None:
    bert = BERT(BERTConfig.debug())
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"holds neither model\.safetensors nor pytorch_model\.bin"):
        load_bert(bert, tmp_path / "empty")
    with pytest.raises(WeightsError, match="no weights at"):
        load_bert(bert, tmp_path / "none.bin")
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.bin")
    with pytest.raises(WeightsError, match=r"does not fit: missing embeddings\.LayerNorm\.bias"):
        load_bert(bert, tmp_path / "a.bin")


def test_a_tagger_is_read_from_panns_file_or_uss(tmp_path: Path) -> None:
    config = USSConfig.debug()
    system = USS(config)
    entries = uss_entries(system)
    panns = {k.removeprefix("query_net.base."): v for k, v in entries.items() if k.startswith("query_net.base.")}
    torch.save({"iteration": 600000, "model": panns}, tmp_path / "Cnn14.pth")
    torch.save({"state_dict": entries}, tmp_path / "uss.ckpt")
    for name in ("Cnn14.pth", "uss.ckpt"):
        tagger = Cnn14(config.tagger)
        load_tagger(tagger, tmp_path / name)
        for key, value in system.tagger.state_dict().items():
            assert torch.equal(value, tagger.state_dict()[key]), key
    torch.save({"model": panns | {"more": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"unexpected query_net\.base\.more"):
        load_tagger(Cnn14(Cnn14Config.debug()), tmp_path / "other.pth")


def test_a_trained_tagger_and_a_bert_are_taken_along(corpus: Path, cache: Path, tmp_path: Path) -> None:
    entries = uss_entries(USS(USSConfig.debug()))
    torch.save({"state_dict": entries}, tmp_path / "uss.ckpt")
    uss = task_of(toy("uss/base", **{"options.tagger": str(tmp_path / "uss.ckpt")}), corpus, cache).module
    assert torch.equal(uss.tagger.embed.weight, entries["query_net.base.fc1.weight"])
    bert = BERT(BERTConfig.debug())
    torch.save(hub_bert(bert), tmp_path / "pytorch_model.bin")
    changes = {"options.text_encoder": str(tmp_path / "pytorch_model.bin")}
    lassnet = task_of(toy("lassnet/base", **changes), corpus, cache)
    assert isinstance(lassnet, LASSNetTask)
    assert torch.equal(lassnet.module.text.bert.layers[0].output["dense"].weight, bert.layers[0].output["dense"].weight)
