"""A network, a task and an Optax chain: what most runs learn with."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from engine import keys, loop
from engine.config import Config, Durations, durations
from engine.data import Data
from engine.devices.mesh import Spread
from engine.doors.network import Network, Variables
from engine.formulation.rewriting import rewritten
from engine.optim import averages, patience
from engine.optim.chain import optimizer
from engine.optim.patience import Monitor
from engine.state import State, sorted_out
from engine.task import Task


@dataclass(frozen=True)
class Gradient:
    """Static under jit, and all that a program is compiled for: equal ones share one.

    Of whatever learns a run asks four functions, create, segment, evaluate and predict, and its
    task. `hyper` is traced, `root` the key of the run, `order` that of its shuffles.
    """

    config: Config
    network: Network
    task: Task
    spread: Spread | None = None

    @property
    def shares(self) -> int:
        """Into how many parts a batch is cut."""
        return self.spread.shares if self.spread else 1

    def apply(
        self, variables: Variables, inputs: Array, train: bool, key: Array | None = None,
        valid: Array | None = None,
    ) -> tuple[Array, Variables]:
        """`network.apply`, its convolutions in the formulation that the config asks for."""
        fast = rewritten(self.network.apply, self.config.convolution)
        return fast(variables, inputs, train, key, valid)

    def begin(self, hyper: Any, root: Array, inputs: Array, lengths: Durations) -> State:
        """The state before the first update, of a network for `inputs` float32 [1, ...]."""
        variables = self.network.init(keys.stream(root, "params"), inputs)
        params = variables["params"]
        outputs = jax.eval_shape(lambda: self.network.apply(variables, inputs, False)[0])
        return State(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer(self.config, hyper, lengths).init(params),
            tally=self.task.zeros(outputs.shape[-1]),
            diverged_at=jnp.full((), -1, jnp.int32),
            **sorted_out(variables),
            average=averages.begun(variables) if self.averaging(hyper) else {},
            plateau=patience.level(self.monitor(hyper))
            if self.config.schedule == "plateau" else (),
        )

    def create(self, hyper: Any, root: Array, data: Data) -> State:
        """Params are float32, counters int32."""
        inputs = jnp.zeros((1, *data.train.input_shape), jnp.float32)
        return self.begin(hyper, root, inputs, durations(self.config, len(data.train.rows)))

    def averaging(self, hyper: Any) -> bool:
        """Whether a run keeps averaged weights beside its own."""
        return averages.asked(self.config.average_from, hyper)

    def ranking(self, hyper: Any) -> Monitor:
        """What ranks checkpoints and runs."""
        return patience.ranking(self.task, self.averaging(hyper))

    def monitor(self, hyper: Any) -> Monitor:
        """The score that stops a run and lowers its rate. Raises RequestError for an unknown."""
        return patience.monitor(self.task, self.config.monitor, self.averaging(hyper))

    def heard(self, hyper: Any, lengths: Durations, state: State, row: dict[str, Any]) -> State:
        """The state after an epoch, whose scores are `row`: with a plateau's new rate."""
        if not state.plateau:
            return state
        watched = self.monitor(hyper)
        return state._replace(plateau=patience.heard(
            state.plateau, state.step, jnp.float32(row[watched.name]), hyper, lengths, watched))

    def over(self, hyper: Any, lengths: Durations, history: list[dict[str, Any]]) -> str:
        """Why a run stops after these epochs, by its patience; "" where it goes on."""
        if not lengths.patience or len(history) == self.config.epochs:
            return ""
        watched = self.monitor(hyper)
        return patience.stops([row[watched.name] for row in history], lengths.epoch, watched,
                              lengths.patience, self.config.min_delta)

    # Whose first argument is the learner.
    restated = averages.restated
    segment, evaluate, predict = loop.segment, loop.evaluate, loop.predict
