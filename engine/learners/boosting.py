"""Trees by XGBoost: an update is a round, the state the booster's bytes. N: examples, F: features,
K: outputs."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import xgboost

from engine.config import Config
from engine.devices.mesh import ALONE, Spread
from engine.doors.bring import short, telling
from engine.doors.course import durations
from engine.doors.weights import of_examples
from engine.errors import RequestError
from engine.examples import Subset
from engine.feed import Data
from engine.learners.learner import Learner
from engine.optim.lengths import Durations
from engine.optim.trees import FOREST, WHOLE_NUMBERS
from engine.state import State
from engine.task import Task
from engine.tasks.classification import Classification
from engine.tasks.multilabel import Multilabel
from engine.tasks.regression import Regression

BYTES = "booster"
# XGBoost's words for a task of ours and its loss.
_OBJECTIVES = {
    (Classification, ""): "multi:softprob",
    (Classification, "softmax_cross_entropy"): "multi:softprob",
    (Multilabel, ""): "binary:logistic", (Multilabel, "sigmoid_cross_entropy"): "binary:logistic",
    (Regression, ""): "reg:squarederror", (Regression, "mean_squared"): "reg:squarederror",
    (Regression, "mean_absolute"): "reg:absoluteerror",
}


class _Kept:
    """What the host need not make again: the examples as XGBoost has them, of the two newest
    subsets, and the newest booster beside its bytes. Forgetting it changes nothing."""

    def __init__(self) -> None:
        self._matrices: dict[tuple[int, int], tuple[Subset, xgboost.DMatrix]] = {}
        self._bytes = b""
        self._booster: Any = None

    def matrix(self, subset: Subset, class_weights: tuple[float, ...]) -> xgboost.DMatrix:
        key = id(subset.split.inputs), id(subset.rows)
        if key not in self._matrices:
            weights = of_examples(subset)
            if class_weights:
                own = np.array(class_weights, np.float32)[subset.targets]
                weights = own if weights is None else own * weights
            while len(self._matrices) > 1:
                self._matrices.pop(next(iter(self._matrices)))
            made = xgboost.DMatrix(_flat(subset.split.inputs, np.asarray(subset.rows)),
                                   subset.targets, weight=weights)
            self._matrices[key] = subset, made  # the subset lives on, and so its ids are its own
        return self._matrices[key][1]

    def booster(self, variables: Any, device: str) -> xgboost.Booster:
        content = np.asarray(variables["params"][BYTES]).tobytes()
        if content != self._bytes:
            self.keep(content, xgboost.Booster({"device": device}, model_file=bytearray(content)))
        return self._booster

    def keep(self, content: bytes, booster: xgboost.Booster) -> None:
        self._bytes, self._booster = content, booster


@dataclass(frozen=True)
class Boosting(Learner):
    """A Learner that isn't traced. `num_outputs` is K; `hyper` is a trees.XGBoost or RandomForest.
    Raises RequestError for a task or a loss that XGBoost has no objective for, and for
    `embeddings`: columns of codes, whose order means nothing.

    A round is a pure function of the bytes before, the examples, the values and (seed, round): what
    is drawn in it, of rows or features, is drawn from the seed plus the number of the round.
    """

    config: Config
    task: Task
    num_outputs: int
    embeddings: tuple[int, ...] = ()
    device: str = "cpu"
    kept: _Kept = field(default_factory=_Kept, compare=False, repr=False)
    traced: ClassVar[bool] = False
    spread: ClassVar[Spread] = ALONE

    def __post_init__(self) -> None:
        model, loss = self.config.model, self.config.loss
        if not self.objective:
            what = f"--loss {loss}" if loss else f"task {short(self.config.task)}"
            raise RequestError(f"{what} is none that --model {model} can learn by: leave it out.")
        if self.embeddings:
            raise RequestError(f"model {model} embeds nothing, and the table has columns of codes "
                               "to embed: type --model mlp, or leave these columns out.")

    @property
    def objective(self) -> str:
        """XGBoost's word for the task and its loss; '' where it has none."""
        return _OBJECTIVES.get((type(self.task), self.config.loss), "")

    def lengths(self, examples: int) -> Durations:
        """An epoch is a round."""
        return durations(dataclasses.replace(self.config, batch_size=examples), examples)

    def parameters(self, hyper: Any) -> dict[str, Any]:
        """XGBoost's own, by its names."""
        own = {name: int(value) if name in WHOLE_NUMBERS else float(value)
               for name, value in hyper._asdict().items()}
        if self.config.model == FOREST:
            own["learning_rate"] = 1.0
        classes = {"num_class": self.num_outputs} if self.objective.startswith("multi") else {}
        return {"objective": self.objective, "device": self.device} | classes | own

    def settled(
        self, hyper: Any, data: Data, platform: str, say: Callable[[str], Any]
    ) -> "Boosting":
        """On a GPU by XGBoost's CUDA. Raises RequestError for a device or a value it can't have."""
        model = self.config.model
        if platform not in ("cpu", "gpu"):
            raise RequestError(f"--model {model} learns on a CPU or a CUDA GPU: type --device cpu.")
        if platform == "gpu" and not xgboost.build_info().get("USE_CUDA"):
            raise RequestError(f"--model {model}: this XGBoost was built without CUDA: pip install "
                               "xgboost (xgboost-cpu is for CPUs alone), or type --device cpu.")
        made = dataclasses.replace(self, device="cuda" if platform == "gpu" else "cpu")
        zeros = np.zeros((2, 1), np.float32)
        targets = np.zeros(2 if self.task.kind == "classes" else (2, self.num_outputs), np.float32)
        with telling(f"--model {model}"), xgboost.config_context(verbosity=0):
            xgboost.train(made.parameters(hyper), xgboost.DMatrix(zeros, targets), 1)
        say(f"{model}: XGBoost {xgboost.__version__} on {made.device}, {self.objective}")
        return made

    def shapes(self, hyper: Any, input_shape: tuple[int, ...]) -> State:
        state = _state(0, b"", jax.eval_shape(lambda: self.task.zeros(self.num_outputs)))
        grown = jax.ShapeDtypeStruct((-1,), np.uint8)
        return state._replace(params={BYTES: grown})

    def create(self, hyper: Any, root: Any, data: Data) -> State:
        """No tree."""
        return _state(0, b"", jax.device_get(self.task.zeros(self.num_outputs)))

    def segment(
        self, hyper: Any, root: Any, order: Any, train: Subset, state: State, count: Any
    ) -> State:
        """`count` rounds more; the tally is of the training examples after the last."""
        matrix, done = self._matrix(train), int(state.step)
        seed, asked = int(np.asarray(jax.random.key_data(root)).ravel()[-1]), self.parameters(hyper)
        booster: Any = self._booster(state.variables) if done else None
        if booster:
            booster.set_param(asked)
        draws = any(value < 1 for name, value in asked.items() if "sample" in name)
        for number in range(done, done + int(count)):
            if booster and not draws:  # which knows what its trees so far say of each example
                booster.update(matrix, number)
                continue
            booster = xgboost.train(asked | {"seed": seed + number}, matrix, 1,
                                    xgb_model=booster and booster.save_raw("ubj"))
        content = bytes(booster.save_raw("ubj"))
        self.kept.keep(content, booster)
        tally = self._sums(booster, train)
        return _state(done + int(count), content, jax.device_get(tally))

    def _booster(self, variables: Any) -> xgboost.Booster:
        return self.kept.booster(variables, self.device)

    def _matrix(self, subset: Subset) -> xgboost.DMatrix:
        return self.kept.matrix(subset, getattr(self.task, "class_weights", ()))

    def _told(
        self, booster: xgboost.Booster, matrix: xgboost.DMatrix, margins: bool = False
    ) -> np.ndarray:
        """XGBoost's own probabilities or numbers, or its `margins`, the sums of leaves, float32
        [N, K]."""
        return booster.predict(matrix, output_margin=margins).reshape(-1, self.num_outputs)

    def _sums(self, booster: xgboost.Booster, subset: Subset) -> Any:
        """The task's, of the margins."""
        outputs = jnp.asarray(self._told(booster, self._matrix(subset), margins=True))
        return _judged(self.task, outputs, jnp.asarray(subset.targets))

    def evaluate(self, variables: tuple[Any, ...], subset: Subset) -> tuple[Any, ...]:
        return tuple(self._sums(self._booster(one), subset) for one in variables)

    def judge(self, variables: Any, subset: Subset) -> tuple[Any, np.ndarray]:
        """Of one matrix, whose margins XGBoost keeps."""
        booster = self._booster(variables)
        return self._sums(booster, subset), self._told(booster, self._matrix(subset))

    def predict(self, variables: Any, inputs: Any) -> np.ndarray:
        matrix = xgboost.DMatrix(_flat(inputs, slice(None)))
        return self._told(self._booster(variables), matrix)

    def gain(self, variables: Any, features: int) -> np.ndarray:
        found = self._booster(variables).get_score(importance_type="gain")
        gain_F = np.array([found.get(f"f{at}", 0.0) for at in range(features)], np.float64)
        return gain_F / (gain_F.sum() or 1.0)


def _flat(inputs: Any, rows: Any) -> np.ndarray:
    """The inputs of `rows` as features, float32 [N, F]."""
    held = np.asarray(inputs)[rows]
    return held.reshape(len(held), -1).astype(np.float32, copy=False)


def _state(step: int, content: bytes, tally: Any) -> State:
    params = {BYTES: np.frombuffer(content, np.uint8)}
    return State(np.int32(step), params, {}, (), tally, np.int32(-1))  # type: ignore[arg-type]


@partial(jax.jit, static_argnums=0)
def _judged(task: Task, outputs: jax.Array, targets: jax.Array) -> Any:
    return task.judge(outputs, targets, jnp.ones(len(targets), bool))
