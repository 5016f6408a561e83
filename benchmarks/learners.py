"""The digits by each learner, on five stratified folds, beside what scikit-learn's make of the same
rows: accuracy and macro F1 of the fold that is held out, mean ± standard deviation.

    python -m benchmarks.learners
"""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterable

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC

from engine import pure
from engine.config import Config, Hyper
from engine.feed import Data
from engine.learners.chosen import learner_of

FOLDS = 5
COUNT = 1797 * (FOLDS - 1) // FOLDS  # of training; 1/N is LogisticRegression's penalty at C = 1
SIDE = 8  # pixels, as they are
OURS = {  # a model, its epochs, side, rate and decay: a learner more is a line more
    "cnn": (15, 18, Hyper(learning_rate=1e-3)),  # the least that its convolutions take
    "mlp": (60, SIDE, Hyper(learning_rate=1e-3)),
    "linear": (100, SIDE, Hyper(learning_rate=1e-2, weight_decay=1 / COUNT)),
    "svm": (100, SIDE, Hyper(learning_rate=1e-2, weight_decay=1 / COUNT)),
}
THEIRS = {
    "MLPClassifier": lambda: MLPClassifier((128, 128), max_iter=300, random_state=0),
    "LinearSVC": lambda: LinearSVC(random_state=0),
    "LogisticRegression": lambda: LogisticRegression(max_iter=2000),
}


def scored(said: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    return float(accuracy_score(true, said)), float(f1_score(true, said, average="macro"))


def asked(part: str) -> Config:
    """A fold of all 1,797 digits, every class shared out evenly."""
    return Config(dataset="digits", train_split="all", validation_split=part, image_size=SIDE)


def told_elsewhere(config: Config) -> Data:
    """Its data; what is told of them isn't the table."""
    with contextlib.redirect_stdout(sys.stderr):
        return pure.data_for(config)


def ours(model: str, part: str) -> tuple[float, float]:
    """The scores of a learner on a fold, after its last epoch."""
    epochs, side, hyper = OURS[model]
    config = dataclasses.replace(asked(part), model=model, epochs=epochs, image_size=side)
    data = told_elsewhere(config)
    state, _ = jax.jit(pure.train)(config, hyper, jax.random.key(0), data)
    held = data.validation
    learner = learner_of(dataclasses.replace(config, task="classification"), data.num_outputs)
    said = learner.predict(state.variables, held.split.inputs[held.rows])
    return scored(np.asarray(said).argmax(1), held.targets)


def theirs(name: str, part: str) -> tuple[float, float]:
    """Of the same rows, their pixels from 0 to 1."""
    data = told_elsewhere(asked(part))
    train, held = ((np.asarray(s.split.inputs)[np.asarray(s.rows)].reshape(len(s.rows), -1) / 255,
                    s.targets) for s in (data.train, data.validation))
    return scored(THEIRS[name]().fit(*train).predict(held[0]), held[1])


def row(name: str, found: Iterable[tuple[float, float]]) -> str:
    cells = (f"{values.mean():.4f} ± {values.std(ddof=1):.4f}" for values in np.array([*found]).T)
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=[*OURS, *THEIRS])
    parts = [f"{number}/{FOLDS}" for number in range(1, FOLDS + 1)]
    print("| learner | accuracy | macro F1 |\n|---|---|---|")
    for name in parser.parse_args().names:
        told = f"`{name}`, {OURS[name][0]} epochs" if name in OURS else f"scikit-learn's {name}"
        one = ours if name in OURS else theirs
        print(row(told, (one(name, part) for part in parts)), flush=True)


if __name__ == "__main__":
    main()
