"""From which probability the second of two classes is said, chosen on the validation. N examples.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from engine.disk.files import is_number, is_text
from engine.errors import RequestError, RunError, tell
from engine.examples import Subset
from engine.scores.judged import Judged
from engine.task import Task
from engine.tasks.classification import Classification

OFF = "off"
LEAST, MOST = np.finfo(np.float32).tiny, np.nextafter(np.float32(1), np.float32(0))
CHOICE = {"by": is_text, "class": is_text, "split": is_text, "score": is_number,
          "score_at_half": is_number}  # what metrics.json keeps of one


def check(task: Task, num_outputs: int, by: str) -> None:
    """Raise RequestError for a threshold, given or to be chosen `by` a score, of what isn't two
    classes."""
    given = isinstance(task, Classification) and task.by_threshold
    if by == OFF and not given:
        return
    asked = f"--threshold {task.threshold}" if given else f"--choose_threshold {by}"  # type: ignore[attr-defined]
    if given and by != OFF:
        raise RequestError(f"{asked} and --choose_threshold {by}, which chooses it: leave one out "
                           f"(--threshold {Classification.threshold} or --choose_threshold off).")
    if not isinstance(task, Classification):
        keeps = ", whose --threshold you type" if task.kind == "labels" else ""
        raise RequestError(f"{asked} is for the classification of two classes, and not for "
                           f"{type(task).__name__.lower()}{keeps}: leave it out.")
    if num_outputs != 2:
        raise RequestError(f"{asked} is for two classes, and there are {num_outputs:,}: leave it "
                           "out.")


def check_validation(validation: Subset, names: tuple[str, ...], by: str) -> None:
    """Raise RequestError where a threshold is to be chosen and one of the two classes has no
    validation example."""
    if by == OFF:
        return
    for number, name in enumerate(names):
        if not (validation.targets == number).any():
            raise RequestError(f"--choose_threshold {by} chooses on the validation, and that has "
                               f"no example of {name}: type another --validation_split.")


def best(probability_N: np.ndarray, own_N: np.ndarray, by: str) -> float:
    """The threshold of the best `by` ("f1", "balanced_accuracy", or "youden", of the same answer,
    since Youden's J is twice it minus 1), above 0 and below 1: half way to the next probability
    below, so that others like these fall on the same side. The lowest of equals; where every
    probability is 0, that of the likelier class."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    # Smaller ones are 0 to XLA; above the largest of its kind below 1 is no other.
    probability_N = np.where(probability_N < LEAST, np.float32(0), np.minimum(probability_N, MOST))
    if by == "f1":
        precision, recall, at = precision_recall_curve(own_N, probability_N)
        value = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
        value = value[:-1]  # the last says nobody
    else:
        alarms, recall, at = roc_curve(own_N, probability_N, drop_intermediate=False)
        value, at = (recall - alarms)[:0:-1], at[:0:-1]  # ascending, as above
    if not at.any():
        return Classification.threshold
    upper = np.float32(at[at > 0][value[at > 0].argmax()])
    below = probability_N[probability_N < upper].max(initial=0)
    middle = (upper + below) / np.float32(2)
    return float(middle if middle > max(below, LEAST) else upper)


def chosen(
    task: Task, judged: Judged, names: tuple[str, ...], by: str, split: str
) -> tuple[Task, dict[str, Any]]:
    """The task with the threshold that is best `by` a score on the validation, called `split`; and
    what metrics.json keeps of the choice: the score there, and that of the likelier class."""
    assert isinstance(task, Classification)  # `check` has refused any other
    made = dataclasses.replace(
        task, threshold=best(judged.predicted[:, 1], judged.targets == 1, by))
    return made, {"threshold": made.threshold, "threshold_choice": {
        "by": by, "class": names[1], "split": split, "score": _value(made, judged, by),
        "score_at_half": _value(task, judged, by),
    }}


def _value(task: Classification, judged: Judged, by: str) -> float:
    from sklearn.metrics import balanced_accuracy_score, f1_score

    said_N = task.said(judged.predicted)
    if by == "f1":
        return float(f1_score(judged.targets, said_N))
    return float(balanced_accuracy_score(judged.targets, said_N, adjusted=by == "youden"))


def told(scores: dict[str, Any]) -> str:
    """In words, of what metrics.json keeps; "" where nothing was chosen."""
    if not (choice := scores.get("threshold_choice")):
        return ""
    flattered = choice["split"] == scores.get("split")
    return (f"threshold: {choice['class']} from the probability {scores['threshold']:.4g} on: the "
            f"best {choice['by']} on {choice['split']}, {choice['score']:.4f} where 0.5 has "
            f"{choice['score_at_half']:.4f}"
            + "; that is what it is scored on, too, which flatters the score" * flattered)


def kept(learner: Any, path: Path, metrics: dict[str, Any]) -> Any:
    """The learner, its task with the threshold that the run in `path` has chosen by metrics.json's
    content. Raises RequestError where it has chosen none such, RunError where that is damaged."""
    by = learner.config.choose_threshold
    if by == OFF:
        return learner
    if not metrics:
        tell(f"{path} is not finished, and has chosen no threshold yet: the likelier class is said")
        return learner
    choice = metrics.get("threshold_choice")
    if not isinstance(choice, dict) or by != choice.get("by"):
        raise RequestError(f"the run in {path} has chosen no threshold by {by}: let it, with "
                           f"python launch.py --resume {path} --choose_threshold {by}, or leave "
                           "--choose_threshold out.")
    at = metrics.get("threshold", learner.task.threshold)
    if not (all(fits(choice.get(name)) for name, fits in CHOICE.items())
            and is_number(at) and 0 < at < 1):
        raise RunError(f"{path}/metrics.json is damaged (its threshold is {at!r:.40}): resume the "
                       "run to have it written again.")
    return dataclasses.replace(learner, task=dataclasses.replace(learner.task, threshold=at))
