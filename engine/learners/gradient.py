"""A network, a task and an Optax chain: what most runs learn with."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from engine import keys, loop
from engine.augmentations import suited
from engine.config import is_ours
from engine.doors import computed, coupled, handed, precision
from engine.doors.bring import short
from engine.doors.course import durations
from engine.doors.functions import Variables, initial, unwrapped
from engine.feed import Data
from engine.formulation.rewriting import Census, census
from engine.learners import fitting
from engine.learners.learner import Learner
from engine.learners.microbatch import WHOLE_BATCH, microbatch_for
from engine.objective import Objective
from engine.optim import groups, patience
from engine.optim.lengths import Durations
from engine.optim.optimizers import WITHOUT_DECAY
from engine.state import State, sorted_out
from engine.task import float32
from engine.tasks.classification import Classification
from engine.updates import averages
from engine.updates.chain import optimizer

MIXES = ("model {} lets the examples of a batch see each other: let its call take `valid` too, "
         "bool [B], false of what only fills a batch up, and leave that out")
GREY = "; or, where these are grey pictures [N, H, W], give x[..., None]: it convolves over them"


@dataclass(frozen=True)
class Gradient(Objective, Learner):
    """Learns its objective by gradients."""

    traced: ClassVar[bool] = True

    def lengths(self, examples: int) -> Durations:
        return durations(self.config, examples)

    def settled(
        self, hyper: Any, data: Data, platform: str, say: Callable[[str], Any]
    ) -> "Gradient":
        """With the formulation, the microbatch and the loop that suit the platform."""
        config, shape = self.config, data.train.input_shape
        if (same := WITHOUT_DECAY.get(config.optimizer)) and not getattr(hyper, "weight_decay", 0):
            say(f"optimizer: {config.optimizer} without --weight_decay is {same}")
        self = computed.apart(self, shape)
        suited.check(self, hyper, data.train)
        variables = fitting.check(self, hyper, self.lengths(len(data.train.rows)), data)
        subsets = data.train, data.validation  # parts of one split, mostly
        for inputs in {id(x.split): x.split.inputs for x in subsets}.values():
            handed.check(self, inputs)
            if config.precision == "bf16":
                precision.check(handed.floats(self.network, inputs))
        if handed.embeds(self.network, shape):
            say(handed.NOTE.format(short(config.model)))
        if "batch_stats" in variables and not getattr(unwrapped(self.network), "told", True):
            say(f"model {short(config.model)} keeps batch statistics, and is never told that it is "
                "in training: let its call take `train`, or they stay as they begin")
        if not is_ours(config.model) and platform == "cpu" and config.convolution != "direct":
            found = self.census(variables, shape)
            if found.convolutions:
                say(f"formulation: {found}")
        asked = groups.asked(config.freeze, config.unfreeze, config.rate)
        for line in groups.told(asked, variables["params"]):
            say(line)
        known = self.coupled or is_ours(config.model) or variables.keys() != {"params"}
        mixes = not known and coupled.mixes(
            self.network.apply, variables, jax.ShapeDtypeStruct((1, *shape), jnp.float32))
        if mixes:
            grey = len(shape) == 2 and self.census(variables, shape).convolutions
            say(MIXES.format(short(config.model)) + GREY * bool(grey))
        size, reason = microbatch_for(config, platform, self.spread.shares, variables,
                                      self.coupled or mixes)
        if reason != WHOLE_BATCH:
            say(f"microbatch: {size or config.batch_size // self.spread.shares} ({reason})")
        how = config.convolution
        if how == "auto" and platform == "cpu":
            how = "product"  # what auto is there, without tracing what it is elsewhere
        config = dataclasses.replace(config, microbatch=size, convolution=how)
        return dataclasses.replace(self, config=config).on(platform)

    def on(self, platform: str) -> "Gradient":
        """For a GPU loops of known trips, for one alone a step of few kernels."""
        few, task = platform == "gpu" and self.spread.shares == 1, self.task
        if type(task) is Classification:
            task = dataclasses.replace(task, one_hot=few)
        trips = loop.TRIPS if platform == "gpu" else 0
        return dataclasses.replace(self, few_kernels=few, trips=trips, task=task)

    def census(
        self, variables: Variables, input_shape: tuple[int, ...], examples: int = 2
    ) -> Census:
        """Of the network's convolutions, for inputs float32 [examples, *input_shape]."""
        inputs = jax.ShapeDtypeStruct((examples, *input_shape), jnp.float32)
        return census(lambda v, x: self.network.apply(v, x, False)[0], variables, inputs)

    def begin(self, hyper: Any, root: Array, inputs: Array, lengths: Durations) -> State:
        """The state before the first update, of a network for `inputs` float32 [1, ...]."""
        variables = initial(self.network, keys.stream(root, "params"), inputs)
        params = variables["params"]
        return State(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer(self.config, hyper, lengths).init(params),
            tally=self.task.zeros(self.num_outputs, self.outputs(variables, inputs)),
            diverged_at=jnp.full((), -1, jnp.int32),
            **sorted_out(variables),
            average=averages.begun(variables) if self.averaging(hyper) else {},
            plateau=patience.level(self.monitor(hyper))
            if self.config.schedule == "plateau" else (),
        )

    def outputs(self, variables: Variables, inputs: Any) -> Any:
        """Their shapes, of inputs float32 [B, ...], which may be shapes too."""
        if not self.task.any_outputs:
            return jax.ShapeDtypeStruct((len(inputs), self.num_outputs), jnp.float32)
        return jax.eval_shape(lambda v, x: float32(self.network.apply(v, x, False)[0]), variables,
                              inputs)

    def shapes(self, hyper: Any, input_shape: tuple[int, ...]) -> State:
        values = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), hyper)
        inputs = jax.ShapeDtypeStruct((1, *input_shape), jnp.float32)
        return jax.eval_shape(functools.partial(_begun, self), values, inputs)

    def create(self, hyper: Any, root: Array, data: Data) -> State:
        """Params are float32, counters int32."""
        inputs = jnp.zeros((1, *data.train.input_shape), jnp.float32)
        return self.begin(hyper, root, inputs, self.lengths(len(data.train.rows)))

    def averaging(self, hyper: Any) -> bool:
        """Whether a run keeps averaged weights beside its own."""
        return averages.asked(self.config.average_from, hyper)

    # Whose first argument is the learner.
    restated = averages.restated
    segment, evaluate = loop.segment, loop.evaluate
    judge, predict = loop.judge, loop.predict


LONG = Durations(1_000, 0, 100_000)  # any run's: a user's chain may divide it, or take some off


@jax.jit(static_argnums=0, inline=True)
def _begun(learner: Gradient, hyper: Any, inputs: Array) -> State:
    """A state before the first update, whatever the run's length, traced once for one form of
    `hyper`: what jax keeps of a learner goes with jax.clear_caches()."""
    return learner.begin(hyper, jax.random.key(0), inputs, LONG)
