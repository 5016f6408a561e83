"""What an augmentation is for, and does: each file of this wing that is one says so of itself."""

from typing import NamedTuple


class Purpose(NamedTuple):
    """`flags` ask for it. `key` is its number among a step's keys: of its own, or of those that
    can't be told apart, and never another, since runs go on with the draws they began with. It may
    need `pictures`, [height, width, channels], and of these numbers from 0 to 1 (`unit`); it may
    make other `numbers` than it is given, which of codes mean nothing, and it `moves` pixels,
    `with_classes` where the chain moves those of positions too. One that mixes `labels` mixes
    examples; `colours` are those of its flags to which grey is nothing."""

    flags: tuple[str, ...]
    key: int
    pictures: bool  # not left to a default, so that nobody forgets to say it; so are the next
    unit: bool
    numbers: bool
    moves: bool
    with_classes: bool = False
    labels: bool = False
    colours: tuple[str, ...] = ()
