from __future__ import annotations

import errno
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_files import debug_system, laion_file, lightning_file
from safetensors.torch import save_file

from soundsieve.errors import WeightsError
from soundsieve.weights.foreign import enough_memory, read_state, read_torch


class Trap:
    """What a file must not be able to do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("caught",))


class System:
    """The same, by a module that torch never allows."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("echo > caught",))


def test_reads_what_the_published_files_hold(tmp_path: Path) -> None:
    system = debug_system()
    laion = read_torch(laion_file(tmp_path / "a.pt", system))
    assert laion["optimizer"]["param_groups"][0]["lr"] == 1e-4
    assert set(read_state(tmp_path / "a.pt")) == set(laion["state_dict"])
    lightning = read_torch(lightning_file(tmp_path / "a.ckpt", system, more=np.float32(2)))
    assert lightning["more"] == 2
    assert "decoder_model.film.norm.weight" in read_state(tmp_path / "a.ckpt")


@pytest.mark.filterwarnings("ignore")  # Lightning's own, about workers and loggers
def test_a_checkpoint_that_lightning_wrote(tmp_path: Path) -> None:
    """A real one: with a scheduler, callbacks and hyperparameters, as the authors' training has them."""
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, lr: float = 1e-3) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.linear = torch.nn.Linear(2, 2)

        def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
            loss = self.linear(batch).square().mean()
            self.log("val_loss", loss)
            return loss

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams["lr"])
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.3, patience=5)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"}}

    best = lightning.pytorch.callbacks.ModelCheckpoint(dirpath=tmp_path, monitor="val_loss", save_last=True)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(accelerator="cpu", max_epochs=1, callbacks=[best], default_root_dir=tmp_path, **quiet)
    trainer.fit(module := Module(), torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2))
    state = read_state(tmp_path / "last.ckpt")
    assert torch.equal(state["linear.weight"], module.linear.weight)
    assert {"epoch", "loops", "callbacks", "optimizer_states", "lr_schedulers"} <= read_torch(
        tmp_path / "last.ckpt"
    ).keys()


def test_numpy_numbers_as_older_numpy_names_them(tmp_path: Path) -> None:
    torch.save({"a": np.float64(0.5), "w": torch.ones(2)}, tmp_path / "new.pt")
    with zipfile.ZipFile(tmp_path / "new.pt") as new, zipfile.ZipFile(tmp_path / "old.pt", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert b"numpy.core" in (tmp_path / "old.pt").read_bytes()
    assert read_torch(tmp_path / "old.pt")["a"] == 0.5


def test_files_of_before_archives(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(read_state(tmp_path / "old.pt")["w"], torch.ones(2))


def test_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"w": torch.ones(2), "trap": Trap()}, tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"trap": Trap()}, protocol=2))
    with pytest.raises(WeightsError, match=r"a\.pt holds more than tensors and was not read: it asks for .*print"):
        read_torch(tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"damaged or not a torch checkpoint|holds more than tensors"):
        read_torch(tmp_path / "b.pt")
    assert "caught" not in capsys.readouterr().out


@pytest.mark.parametrize("zipped", [True, False])
def test_refused_code_is_named(zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch words it in another way for modules that it never allows."""
    monkeypatch.chdir(tmp_path)
    torch.save({"trap": System()}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    name = os.system.__module__ + r"\.system"
    with pytest.raises(WeightsError, match=rf"a\.pt holds more than tensors and was not read: it asks for {name}$"):
        read_torch(tmp_path / "a.pt")
    assert not (tmp_path / "caught").exists()


def test_flipped_bits_are_noticed(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(1000.0)}, tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    at = whole.index(torch.arange(500.0, 510).numpy().tobytes())
    (tmp_path / "a.pt").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(WeightsError, match=r"a\.pt is damaged, its entry a/data/0 is not what was written"):
        read_state(tmp_path / "a.pt")


def test_files_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_state(tmp_path / "a.pt")["w"], torch.ones(2))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "is empty: fetch it again"),
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a git-lfs pointer"),
        (b"RIFF....WAVEfmt ", "is not a torch checkpoint"),
        (b"PK\x03\x04" + bytes(100), "is cut short: fetch it again"),
        (b"\x80\x02}q\x00.", "damaged or not a torch checkpoint"),
    ],
)
def test_files_that_are_no_checkpoints(tmp_path: Path, contents: bytes, message: str) -> None:
    (tmp_path / "x.pt").write_bytes(contents)
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "x.pt")


def test_files_cut_short(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(1000)}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    for size in (10, len(whole) // 2, len(whole) - 10):
        (tmp_path / "part.pt").write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"part\.pt is cut short"):
            read_state(tmp_path / "part.pt")


def test_other_files_and_none(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights at"):
        read_state(tmp_path / "none.pt")
    with pytest.raises(WeightsError, match="is a folder"):
        read_state(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match="damaged or not a torch checkpoint"):
        read_state(tmp_path / "a.zip")
    save_file({"w": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="is a safetensors file"):
        read_state(tmp_path / "a.safetensors")
    torch.save(torch.ones(2), tmp_path / "tensor.pt")
    with pytest.raises(WeightsError, match="holds a Tensor, not a table"):
        read_state(tmp_path / "tensor.pt")
    torch.save({"epoch": 3, "w": torch.ones(2)}, tmp_path / "mixed.pt")
    with pytest.raises(WeightsError, match="is not a state dict: epoch are no tensors"):
        read_state(tmp_path / "mixed.pt")
    torch.save({"state_dict": {}}, tmp_path / "nothing.pt")
    with pytest.raises(WeightsError, match="holds no weights"):
        read_state(tmp_path / "nothing.pt")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("unable to mmap 9 bytes from file <x>: Cannot allocate memory (12)"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_too_little_memory(error: Exception) -> None:
    with (
        pytest.raises(WeightsError, match=r"too little memory for loading x\.pt: it needs about 2\.4 GB free"),
        enough_memory("loading x.pt", 2.4e9),
    ):
        raise error


def test_too_little_memory_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    torch.save({"w": torch.ones(2)}, tmp_path / "x.pt")
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(WeightsError, match=r"too little memory for reading .* about 1 MB"):
        read_state(tmp_path / "x.pt")


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="odd"), enough_memory("x", 1):
        raise RuntimeError("odd")
