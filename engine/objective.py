"""What a step learns, a network and a task, and how it computes that."""

from dataclasses import dataclass

from jax import Array

from engine.config import Config
from engine.devices.mesh import ALONE, Spread
from engine.doors.bring import parameters
from engine.doors.functions import Network, Variables, unwrapped
from engine.formulation.rewriting import rewritten
from engine.native import choice as native
from engine.task import Task

GATHERED = {"product": "gathered"}  # formulations as a GPU wants them


@dataclass(frozen=True)
class Objective:
    """Static under jit, and all that a program is compiled for: equal ones share one. A step of
    `few_kernels` is the same function as a GPU wants it, whose segment isn't to be differentiated;
    `trips` is the known trip count of a segment's inner loop, 0 where there is none; `formulation`
    is how training computes convolutions, where it isn't as the config says.
    """

    config: Config
    network: Network
    task: Task
    spread: Spread = ALONE
    num_outputs: int = 0
    few_kernels: bool = False
    trips: int = 0
    formulation: str = ""

    @property
    def coupled(self) -> bool:
        """Whether the loss of an example depends on the others of its batch, as far as network and
        task say, by asking which of them are `valid`."""
        return self.task.coupled or self.mixes

    @property
    def mixes(self) -> bool:
        """Whether its prediction does."""
        return "valid" in parameters(unwrapped(self.network).call)

    def apply(
        self, variables: Variables, inputs: Array, train: bool, key: Array | None = None,
        valid: Array | None = None,
    ) -> tuple[Array, Variables]:
        """`network.apply`, its convolutions in the formulation that the config asks for."""
        how = self.formulation if train and self.formulation else self.config.convolution
        how = native.usable(how, self.spread.shares)
        fast = rewritten(self.network.apply, GATHERED.get(how, how) if self.few_kernels else how)
        return fast(variables, inputs, train, key, valid)
