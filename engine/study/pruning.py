"""Which settings of a study are stopped after an epoch, by what others came to at that epoch."""

import math

from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState


def rungs(halving: int, epochs: int) -> list[int]:
    """After which epochs successive halving judges, the last first."""
    count = int(math.log(epochs, halving) + 1e-9)
    return [epochs // halving**rung for rung in range(1, count + 1)]


class Halving(BasePruner):
    """Asynchronous successive halving (Li et al. 2020): at each rung a setting goes on that is
    among the best one in `halving` of all that have come so far, itself among them.

    Optuna's own judges a setting when it comes. A population's come together: the first of them
    would always go on.
    """

    def __init__(self, halving: int, epochs: int):
        self._halving, self._rungs = halving, rungs(halving, epochs)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        epoch = trial.last_step
        if epoch not in self._rungs:
            return False
        sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
        ranked = sorted((sign * t.intermediate_values[epoch], t.number)
                        for t in study.get_trials(deepcopy=False)
                        if epoch in t.intermediate_values and t.state != TrialState.FAIL)
        own = sign * trial.intermediate_values[epoch], trial.number
        return own > ranked[math.ceil(len(ranked) / self._halving) - 1]


def pruner(halving: int, median: bool, epochs: int) -> BasePruner:
    """What `--halving`, or `--median` (Golovin et al. 2017), stands for."""
    if halving:
        return Halving(halving, epochs)
    return MedianPruner() if median else NopPruner()
