"""The recogniser: what it sees of a part, what it says, and when a Sieve that has one asks again."""

import dataclasses
from pathlib import Path

import pytest
import torch

from soundsieve.errors import ConfigError
from soundsieve.query import Query
from soundsieve.systems.sieve import Scene, Sieve, SieveConfig
from soundsieve.systems.sieve.recogniser import TRAIT_WEIGHT, Recogniser, statistics, width_of
from soundsieve.weights.checkpoint import load_system, save_system

CONFIG = dataclasses.replace(SieveConfig.debug(), anchors=3, contrast=True, recogniser=6, traits=4)


@pytest.fixture
def sieve() -> Sieve:
    """Untrained, with a recogniser that holds every part for as likely to be of any label."""
    torch.manual_seed(0)
    made = Sieve(CONFIG).eval()
    made.anchors[:] = torch.linalg.qr(torch.randn(CONFIG.text.width, 3)).Q.T
    assert made.recogniser is not None
    torch.nn.init.zeros_(made.recogniser.labels.weight)
    torch.nn.init.zeros_(made.recogniser.labels.bias)
    torch.nn.init.zeros_(made.recogniser.traits.weight)
    torch.nn.init.zeros_(made.recogniser.traits.bias)
    return made


@pytest.fixture(scope="module")
def mixture() -> torch.Tensor:
    torch.manual_seed(1)
    t = torch.arange(48000) / 32000
    return torch.stack([0.3 * torch.sin(2 * torch.pi * 440 * t) + 0.05 * torch.randn(48000), 0.1 * torch.randn(48000)])


def scene_of(sieve: Sieve, mixture: torch.Tensor) -> Scene:
    with torch.no_grad():
        return sieve.analysis(sieve.spectrum(mixture)[1])


def test_statistics_tell_a_part_and_nothing_of_what_is_outside(sieve: Sieve, mixture: torch.Tensor) -> None:
    scene = scene_of(sieve, mixture)
    mask = torch.rand(2, 3, *scene.levels_db.shape[1:])
    mask[:, 1, :, 24:] = 0.0  # one part ends early
    told = statistics(scene, mask)
    assert told.shape == (2, 3, width_of(CONFIG))
    assert told.isfinite().all()
    torch.testing.assert_close(statistics(scene, 0.1 * mask), told, atol=2e-3, rtol=1e-3)  # not how loud it is
    changed = dataclasses.replace(scene, cells=scene.cells.clone(), levels_db=scene.levels_db.clone())
    changed.cells[..., 12:] += 1.0
    changed.levels_db[..., 24:] += 10.0
    again = statistics(changed, mask)
    torch.testing.assert_close(again[:, 1], told[:, 1], atol=1e-4, rtol=1e-4)
    assert (again[:, 0] - told[:, 0]).abs().max() > 0.1
    for row in range(2):  # nor with whom it comes
        one = Scene(*(getattr(scene, field.name)[row : row + 1] for field in dataclasses.fields(Scene)))
        torch.testing.assert_close(statistics(one, mask[row : row + 1])[0], told[row], atol=1e-5, rtol=1e-4)
    silent = statistics(scene, torch.zeros_like(mask))
    assert silent.isfinite().all()


def test_labels_and_their_traits_speak_together(sieve: Sieve, mixture: torch.Tensor) -> None:
    recogniser, scene = sieve.recogniser, scene_of(sieve, mixture)
    assert isinstance(recogniser, Recogniser)
    everything = torch.ones(2, 1, *scene.levels_db.shape[1:])
    recogniser.traits_of[:] = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [1.0, 1.0, 0, 0]])
    alike = recogniser(scene, everything)
    torch.testing.assert_close(alike, torch.full_like(alike, -torch.log(torch.tensor(3.0)).item()))
    with torch.no_grad():
        recogniser.traits.bias[:] = torch.tensor([3.0, -3.0, 0.0, 0.0])  # it has the first trait and not the second
    heard = recogniser(scene, everything)[0, 0]
    assert heard[0] > heard[2] > heard[1]
    # Labels 0 and 2 differ in the second trait alone: by the logarithm of the odds against it.
    torch.testing.assert_close(heard[0] - heard[2], torch.tensor(TRAIT_WEIGHT * 3.0), atol=1e-4, rtol=0)
    with torch.no_grad():
        recogniser.labels.bias[1] = 2.0
    assert recogniser(scene, everything)[0, 0].argmax() == 1
    assert not heard.requires_grad


def turned(sieve: Sieve, monkeypatch: pytest.MonkeyPatch, *, sure: bool) -> None:
    """The recogniser hears the first label in whatever holds less (or more) of the energy, and the others elsewhere."""

    def hear(scene: Scene, mask: torch.Tensor) -> torch.Tensor:
        power = 10.0 ** (scene.levels_db[:, None] / 10.0)
        share = (mask.square() * power).sum((2, 3)) / power.sum((2, 3))
        found = share > 0.25 if sure else share <= 0.25
        return torch.where(found[..., None], torch.tensor([0.0, -9.0, -9.0]), torch.tensor([-9.0, 0.0, 0.0]))

    assert sieve.recogniser is not None
    monkeypatch.setattr(sieve.recogniser, "forward", hear)


def test_what_is_left_is_asked_for_again_where_it_is_the_sound(
    sieve: Sieve, mixture: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(sieve, mixture)
    wanted = sieve.anchors[None, :1].expand(2, 1, -1)
    nothing = torch.zeros_like(wanted)
    questions = []
    reader = sieve.reader.forward

    def asked(scene: Scene, positive: torch.Tensor, negative: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        questions.append((positive, negative))
        logits, features = reader(scene, positive, negative)
        return torch.full_like(logits, 4.0), features  # the answer is nearly all of the mixture

    monkeypatch.setattr(sieve.reader, "forward", asked)
    with torch.no_grad():
        turned(sieve, monkeypatch, sure=True)
        sieve.read(scene, wanted, nothing)
        assert len(questions) == 2  # the answer is the sound: nothing more to ask
        turned(sieve, monkeypatch, sure=False)
        sieve.read(scene, wanted, nothing)
        assert len(questions) == 5
        positive, negative = questions[-1]
        assert torch.equal(positive, wanted)
        assert (negative[..., :] @ sieve.anchors[0]).abs().max() < 0.01  # never the queried sound itself
        assert (negative @ sieve.anchors[1:].T).min() > 0.1
        sieve.read(scene, nothing, wanted)  # "everything but" names no sound that could be the wrong one
        assert len(questions) == 7
        sieve.read(scene, wanted, sieve.anchors[None, 2:].expand(2, 1, -1))  # nor is it wiser than who names both
        assert len(questions) == 9
        other = (
            torch.linalg.qr(torch.cat([sieve.anchors, torch.randn(1, CONFIG.text.width)]).T).Q[:, 3].expand(2, 1, -1)
        )
        for strangeness, asked_again in ((0.2, True), (0.5, False)):  # of sounds without a name it knows nothing
            strange = torch.nn.functional.normalize(wanted + strangeness * other, dim=2)
            before = len(questions)
            sieve.read(scene, strange, nothing)
            assert len(questions) - before == 2 + asked_again


def test_only_the_queries_in_doubt_are_answered_anew(
    sieve: Sieve, mixture: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scene_of(sieve, mixture)
    wanted = sieve.anchors[None, :2].expand(2, 2, -1)
    nothing = torch.zeros_like(wanted)
    with torch.no_grad():
        plain, _ = sieve.read(scene, wanted, nothing)
        doubted = torch.tensor([[0.0, 5.0], [5.0, 0.0]])
        monkeypatch.setattr(
            "soundsieve.systems.sieve.naming.Named.spoken_for", lambda *_: (torch.zeros_like(doubted), doubted)
        )
        anew, _ = sieve.read(scene, wanted, nothing)
    torch.testing.assert_close(anew[doubted == 0], plain[doubted == 0])
    assert all((a - b).abs().max() > 1e-4 for a, b in zip(anew[doubted > 0], plain[doubted > 0], strict=True))


def test_an_untrained_one_leaves_the_presence_alone(sieve: Sieve, mixture: torch.Tensor) -> None:
    scene = scene_of(sieve, mixture)
    wanted = sieve.anchors[None, :2].expand(2, 2, -1)
    with torch.no_grad():
        _, presence = sieve.read(scene, wanted, torch.zeros_like(wanted))
        assert sieve.recogniser is not None
        sieve.recogniser.presence.bias[:] = 1.5
        _, surer = sieve.read(scene, wanted, torch.zeros_like(wanted))
    torch.testing.assert_close(surer, presence + 1.5)
    assert presence.unique().numel() > 1


def test_it_travels_with_the_weights_and_needs_labels(sieve: Sieve, tmp_path: Path) -> None:
    assert sieve.recogniser is not None
    sieve.recogniser.centre.normal_()
    save_system(tmp_path / "sieve.safetensors", sieve)
    again = load_system(tmp_path / "sieve.safetensors")
    for name, value in sieve.recogniser.state_dict().items():
        torch.testing.assert_close(again.state_dict()[f"recogniser.{name}"], value)
    asked = sieve.encode_query(Query(text="a dog"))
    sound = torch.randn(1, 16000) / 10
    torch.testing.assert_close(again(sound, asked), sieve(sound, asked))
    for wrong in ({"contrast": False}, {"recogniser": -1}):
        with pytest.raises(ConfigError, match="recogniser"):
            dataclasses.replace(CONFIG, **wrong)  # type: ignore[arg-type]
