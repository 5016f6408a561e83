"""Settings handed out to the processes of a study, each to one; a lost process's to others.

A setting is an Optuna trial. The sweep's own settings have an order that every process knows, and
Optuna numbers trials without a gap, so that a new trial's place tells its setting. One that a
process was lost with fails, which Optuna lets happen once, and is queued again.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from optuna import Study, Trial
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from engine.sweep.space import Axis

AGAIN = "again"  # of a trial: the number of the first one of its setting
BEATS = 4  # in the time that a process may be silent
Values = dict[str, Any]


class Setting(NamedTuple):
    """A setting that this process has: Optuna's trial, and the values of the axes."""

    trial: Trial
    values: Values


def first(trial: Trial | FrozenTrial) -> int:
    """The number of the first trial of its setting."""
    return trial.user_attrs.get(AGAIN, trial.number)


def newest(trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
    """Each setting's newest trial, by the number of its first, rising."""
    return {first(trial): trial for trial in sorted(trials, key=lambda t: (first(t), t.number))}


class Listed(BaseSampler):
    """These settings, in their order."""

    def __init__(self, settings: Sequence[Values]):
        self._settings = settings

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        firsts = [*newest(study.get_trials(deepcopy=False))]
        return self._settings[firsts.index(first(trial))][param_name]


def drawn(trial: Trial, axes: Sequence[Axis]) -> Values:
    """What the sampler says of every axis; of one without values a number within its span, rounded
    as a sweep's own are."""
    found: Values = {}
    for axis in axes:
        if axis.span and not axis.values:
            low, high, log = axis.span
            number = trial.suggest_float(axis.name, low, high, log=log)
            found[axis.name] = float(f"{number:.6g}")
        else:
            found[axis.name] = trial.suggest_categorical(axis.name, axis.values)
    return found


class Handout:
    """`count` settings of a study, for this process among others; one that has been silent for so
    many `seconds` is lost. Clocks are never compared: silence is what this process sees."""

    def __init__(self, study: Study, axes: Sequence[Axis], count: int, seconds: float):
        self._study, self._axes, self._count, self._seconds = study, axes, count, seconds
        self._name, self._own = uuid.uuid4().hex[:12], set[int]()
        self._seen: dict[int, tuple[Any, float]] = {}

    @contextlib.contextmanager
    def alive(self) -> Iterator[None]:
        """Tell the others, in the background, that this process is there."""
        over = threading.Event()

        def beat() -> None:
            count = 0
            while not over.wait(self._seconds / BEATS):
                count += 1
                with contextlib.suppress(Exception):  # a disk or a database that is away for once
                    self._study.set_user_attr(f"beat {self._name}", count)

        thread = threading.Thread(target=beat, name="study", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(self._seconds)

    def trials(self) -> dict[int, FrozenTrial]:
        """Each setting's newest trial; without those that came to be when all were handed out."""
        found = newest(self._study.get_trials(deepcopy=False))
        return {number: found[number] for number in [*found][:self._count]}

    def ask(self) -> Setting | None:
        """The next setting; None where there is none to hand out now."""
        found = self.trials()
        if len(found) == self._count and all(t.state != TrialState.WAITING for t in found.values()):
            return None
        trial = self._study.ask()
        trial.set_user_attr("process", self._name)
        if first(trial) not in self.trials():
            self._study.tell(trial, state=TrialState.FAIL)  # others were quicker
            return None
        self._own.add(trial.number)
        return Setting(trial, drawn(trial, self._axes))

    def report(self, setting: Setting, epoch: int, value: float) -> None:
        with self._unless_taken():
            setting.trial.report(value, epoch)

    def tell(self, setting: Setting, value: float | None, runs: list[dict[str, Any]]) -> bool:
        """A setting's mean score, None where none of its runs got to the end, and the rows of its
        runs. False where others have taken it up, as they missed this process."""
        pruned = TrialState.PRUNED if value is None else None
        with self._unless_taken():
            setting.trial.set_user_attr("runs", runs)
            self._study.tell(setting.trial, value, state=pruned)
            self._own.discard(setting.trial.number)
            return True
        return False

    def release(self, settings: Sequence[Setting]) -> None:
        """Give settings back, for others."""
        for setting in settings:
            self._again(setting.trial)

    def take_up(self) -> None:
        """Queue again what lost processes had."""
        now = time.monotonic()
        beats: Mapping[str, Any] = self._study.user_attrs
        for trial in self.trials().values():
            going = trial.state in (TrialState.RUNNING, TrialState.FAIL)
            if trial.number in self._own or not going:
                continue
            mark = trial.state, beats.get(f"beat {trial.user_attrs.get('process')}")
            before, since = self._seen.get(trial.number, (None, now))
            if before != mark:
                self._seen[trial.number] = mark, now
            elif now - since > self._seconds:
                self._again(trial)

    def done(self) -> bool:
        """Whether every setting has its result."""
        found = self.trials()
        over = TrialState.COMPLETE, TrialState.PRUNED
        return len(found) == self._count and all(t.state in over for t in found.values())

    def _again(self, trial: Trial | FrozenTrial) -> None:
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        with self._unless_taken():
            if frozen.state != TrialState.FAIL:  # else one did that was then lost
                self._study.tell(trial.number, state=TrialState.FAIL)
            self._study.enqueue_trial(frozen.params, user_attrs={AGAIN: first(frozen)})

    def _unless_taken(self) -> contextlib.AbstractContextManager:
        """A trial of a process that was missed has failed, and Optuna lets none touch it."""
        return contextlib.suppress(UpdateFinishedTrialError, ValueError)
