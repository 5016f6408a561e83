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
from engine.doors.precision import Narrow
from engine.formulation.rewriting import rewritten
from engine.optim.chain import optimizer
from engine.state import State, sorted_out
from engine.task import Task


@dataclass(frozen=True)
class Gradient:
    """Static under jit, and all that a program is compiled for: equal ones share one.

    Of whatever learns a run asks four functions, create, segment, evaluate and predict, and its
    task. `hyper` is traced, `root` the key of the run, `order` that of its shuffles.
    """

    config: Config
    network: Network | Narrow
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
        )

    def create(self, hyper: Any, root: Array, data: Data) -> State:
        """Params are float32, counters int32."""
        inputs = jnp.zeros((1, *data.train.input_shape), jnp.float32)
        return self.begin(hyper, root, inputs, durations(self.config, len(data.train.rows)))

    # Whose first argument is the learner.
    segment, evaluate, predict = loop.segment, loop.evaluate, loop.predict
