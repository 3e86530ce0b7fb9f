"""When a small FlowSep listens to its text: its error along the path, told the right text, the other sound's, or none.

The mean square of the error of the velocity on mixtures of validation clips, at one time after another, with the same
noise throughout. Where the three are alike, the text does not count: what will be heard is decided already.

    python benchmarks/flowsep_text.py --data corpus/clips.csv --output benchmarks/results/flowsep_text.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from flowsep_training_tables import flowsep_text_table
from records import record, save

from soundsieve.systems.flowsep.flowsep import FlowSep
from soundsieve.training.build import Data, build_task
from soundsieve.training.recipe import read_recipe
from soundsieve.training.tasks.flowsep import FlowSepTask

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "flowsep" / "small_longer.yaml"
TIMES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
TOLD = ("its own", "the other sound's", "none")


@torch.no_grad()
def errors(task: FlowSepTask, time: float) -> dict[str, float]:
    """By what is told; see `TOLD`."""
    system, texts = task.module.eval(), task.captions
    assert isinstance(system, FlowSep)
    swapped = [texts[i ^ 1] for i in range(len(texts))]  # both sounds of a mixture follow each other
    found = {}
    for told, said in zip(TOLD, (texts, swapped, texts), strict=True):
        torch.manual_seed(0)
        found[told] = task.judged_loss(system, said, told=told != "none", times=torch.full((len(texts),), time))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/flowsep-small_longer/last.safetensors", help="file of a FlowSep")
    parser.add_argument("--data", type=Path, required=True, help="list of clips that has a validation split")
    parser.add_argument("--mixtures", type=int, default=48)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    changes = {"options.init": options.model, "options.validation_pairs": options.mixtures}
    task = build_task(read_recipe(RECIPE, changes), Data(options.data))
    assert isinstance(task, FlowSepTask)
    rows = [{"time": time, **errors(task, time)} for time in TIMES]
    command = "python benchmarks/flowsep_text.py --data corpus/clips.csv"
    result = record("flowsep_text", mixtures=options.mixtures, rows=rows, command=command)
    print(flowsep_text_table(result), end="")
    save(result, options.output)


if __name__ == "__main__":
    main()
