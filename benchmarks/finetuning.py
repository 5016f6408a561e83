"""Fine-tuning against training from scratch: python -m benchmarks.finetuning cifar10.

A network learns the first half of a set's classes. Then others learn some examples of the second
half in as many updates: from scratch, begun with the first one's parameters (another head), and the
same with its convolutions frozen. Prints a row a seed: accuracy on the second half's test examples
after the last epoch.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np

from engine import Config, Hyper, Place, fit, sources
from engine.examples import Split

SEED = 0  # of the examples that are kept

WAYS = {"from scratch": {}, "begun": {"init_from": "source"},
        "begun, convolutions frozen": {"init_from": "source", "freeze": "ConvReLU_*"}}


def half(split: Split, second: bool, most: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets, from 0, of one half of the ten classes; `most` of them, 0 all."""
    rows = np.flatnonzero((split.targets >= 5) == second)
    if most:
        rows = np.random.default_rng(SEED).permutation(rows)[:most]
    return split.inputs[rows], split.targets[rows] - 5 * second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=("cifar10", "digits"))
    parser.add_argument("--source_examples", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=1_000)
    parser.add_argument("--source_epochs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    splits = sources.load(asked.dataset).splits
    first = {"train": half(splits["train"], False, asked.source_examples),
             "test": half(splits["test"], False)}
    second = {"train": half(splits["train"], True, asked.examples),
              "test": half(splits["test"], True)}
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    print(f"{len(first['train'][1]):,} examples of five classes, then {len(second['train'][1]):,} "
          f"of the others in {asked.epochs} epochs\n| seed | {' | '.join(WAYS)} |", flush=True)
    for seed in range(asked.seeds):
        with tempfile.TemporaryDirectory() as folder:
            def learnt(name, data, epochs, folder=folder, seed=seed, **more):
                config = Config(validation_split="test", epochs=epochs, seed=seed, **more)
                place = Place(run_dir=str(Path(folder, name)), device="cpu")
                run = fit(config, Hyper(), place, data, quiet=True)
                return run.history[-1]["val_accuracy"]

            learnt("source", first, asked.source_epochs)
            for way, more in WAYS.items():
                if "init_from" in more:
                    more = more | {"init_from": str(Path(folder, "source"))}
                found[way].append(learnt(way, second, asked.epochs, **more))
        row = " | ".join(f"{scores[-1]:.3f}" for scores in found.values())
        print(f"| {seed} | {row} |", flush=True)
    means = " | ".join(f"{statistics.mean(scores):.3f}" for scores in found.values())
    print(f"| mean | {means} |")


if __name__ == "__main__":
    main()
