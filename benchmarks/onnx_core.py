"""Is the Sieve's core faster as ONNX? The same 10 s through torch and through ONNX Runtime, and how far they differ.

The core is what comes between the STFT and the mask: analysis, two looks, presence. Needs onnx, onnxruntime and
onnxscript, which soundsieve itself does not.

    pip install onnx onnxruntime onnxscript
    python benchmarks/onnx_core.py --output benchmarks/results/onnx.json
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from records import record, save
from speed_tables import onnx_table
from timing import timed
from torch import Tensor, nn
from unheard import sieve_named

from soundsieve.query import Query
from soundsieve.systems.sieve import Sieve

SECONDS = 10.0


class Core(nn.Module):
    """Band energies and a query to the mask's and the presence's logits."""

    def __init__(self, sieve: Sieve) -> None:
        super().__init__()
        self.sieve = sieve

    def forward(self, energies: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        return self.sieve.read(self.sieve.analysis(energies), positive, negative)


def median_s(answer: Callable[[], Any], times: int = 15) -> float:
    """Median time of some calls, after two to warm up."""
    return statistics.median(timed(answer, times + 2)[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter", help="name or file of a Sieve")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise SystemExit(f"this needs {error.name}: pip install onnx onnxruntime onnxscript") from error
    torch.set_num_threads(options.threads)
    sieve = sieve_named(options.model)
    core = Core(sieve).eval()
    generator = torch.Generator().manual_seed(0)
    mixture = torch.randn(1, round(SECONDS * sieve.sample_rate), generator=generator) / 10
    asked = sieve.encode_query(Query(text="a dog barking"))
    with torch.inference_mode():
        energies = sieve.spectrum(mixture)[1]
        inputs = (energies, asked.positive[:, None], asked.negative[:, None])
        wanted = core(*inputs)
    inputs = tuple(tensor.clone() for tensor in inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "core.onnx"
        names = ["energies", "positive", "negative"]
        # The exporter's own optimiser (of torch 2.13) makes norms that are not numbers; the runtime has another.
        torch.onnx.export(core, inputs, path, input_names=names, dynamo=True, verbose=False, optimize=False)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    fed = {given.name: tensor.numpy() for given, tensor in zip(session.get_inputs(), inputs, strict=True)}
    mask, presence = session.run(None, fed)
    apart = [
        float((torch.from_numpy(found).sigmoid() - right.sigmoid()).abs().max())
        for found, right in zip((mask, presence), wanted, strict=True)
    ]
    rows = {}
    with torch.inference_mode():
        rows["torch, float32"] = median_s(lambda: core(*inputs))
        with torch.autocast("cpu", torch.bfloat16):
            rows["torch, bfloat16"] = median_s(lambda: core(*inputs))
        rows["ONNX Runtime, float32"] = median_s(lambda: session.run(None, fed))
    about = {"seconds": SECONDS, "threads": options.threads, "rows": rows, "mask_apart": apart[0]}
    about |= {"presence_apart": apart[1], "onnxruntime": onnxruntime.__version__}
    result = record(
        "onnx", options.model, **about, command=f"python benchmarks/onnx_core.py --threads {options.threads}"
    )
    print(onnx_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
