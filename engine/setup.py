"""What a request comes to before the first compilation."""

from typing import Any, NamedTuple

import jax
from jax.sharding import Sharding

from engine.config import Config
from engine.devices import mesh
from engine.examples import Subset
from engine.feed import Data
from engine.job.host import Host
from engine.optim.lengths import Durations
from engine.request import Request
from engine.sets.bundle import Encoder
from engine.sets.dataset import Dataset
from engine.sets.stream import Stream
from engine.state import State
from engine.task import Task


class Setup(NamedTuple):
    """`data` and `hyper` lie on the device, or on every device of the `spread` where a run has
    several; a table's features were made of `columns`; `judged`, on the host, is what the trained
    model is scored on, called `judges`, or None where that is the validation; `facts` are what
    config.json keeps of the data, the device, and another run that the network began with; `root`
    is the run's key, `order` that of its shuffles. Where there is a `stream`, the inputs of `data`
    are a chunk's shape alone."""

    request: Request
    hyper: Any
    host: Host
    dataset: Dataset
    columns: Encoder | None
    data: Data
    judges: str
    judged: Subset | None
    learner: Any  # a Learner; sweeps and plans, of networks alone, ask more of a Gradient
    lengths: Durations
    root: jax.Array
    order: jax.Array
    facts: dict[str, Any]
    stream: Stream | None = None

    @property
    def config(self) -> Config:
        return self.request.config

    @property
    def task(self) -> Task:
        return self.learner.task

    @property
    def score(self) -> str:
        """What ranks checkpoints and runs, by its name in history.jsonl."""
        return self.learner.ranking(self.hyper).name

    @property
    def device(self) -> jax.Device:
        return self.host.device

    @property
    def everywhere(self) -> Sharding:
        return mesh.everywhere(self.learner.spread.mesh, self.device)

    def where(self, state: Any) -> Any:
        """A sharding for every array of a state."""
        return self.learner.spread.shardings(state, self.device)

    @property
    def state_shapes(self) -> State:
        """The state's shapes and dtypes, each with its sharding: enough to compile for."""
        state = self.learner.shapes(self.hyper, self.data.train.input_shape)
        return mesh.blank(state, self.where(state))

    def create(self, hyper: Any, root: jax.Array) -> State:
        """The state before the first update."""
        return self.learner.create(hyper, root, self.data)

    @property
    def inputs(self) -> dict[str, Any]:
        """What `learner.segment` takes besides the state and a count."""
        return {"hyper": self.hyper, "root": self.root, "order": self.order,
                "train": self.data.train}
