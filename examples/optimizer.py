r"""An Optax chain, with hyper-parameters of its own: each is a flag, and sweeps in one program.

    flaxmill --optimizer examples/optimizer.py:adamax --b2 0.99 \
        --config examples/recipe.py --epochs 5
    flaxmill sweep --optimizer examples/optimizer.py:adamax --sweep norm=0.1,1 \
        --config examples/recipe.py --epochs 5
"""

from typing import NamedTuple

import optax


class Hyper(NamedTuple):
    """Traced: one program serves every value."""

    learning_rate: float = 1e-2
    b2: float = 0.999
    norm: float = 1.0


def adamax(hyper: Hyper, durations):
    """`durations` has the lengths of an epoch and of the run in updates, for schedules."""
    course = optax.cosine_decay_schedule(1.0, durations.total)
    return optax.chain(
        optax.clip_by_global_norm(hyper.norm),
        optax.adamax(lambda step: hyper.learning_rate * course(step), b2=hyper.b2),
    )
