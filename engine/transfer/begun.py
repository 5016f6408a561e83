"""A network that begins with another's arrays: what is taken, what is left, and why."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.table import Table

from engine.doors.functions import Begun
from engine.doors.names import renamed
from engine.errors import RequestError, some, visible
from engine.learners import effect, steady
from engine.optim.groups import paths
from engine.programs import formulation, graphs
from engine.setup import Setup
from engine.store import record
from engine.transfer.source import Source, name_of, source_of


class Match(NamedTuple):
    """Of this network's arrays: the `taken`, by name; the `mismatched`, their shape and ours; the
    `left`, which the other lacks; and the other's `unused`. Only the first begin as it has them."""

    taken: dict[str, np.ndarray]
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    left: list[str]
    unused: list[str]


def matched(source: Source, words: str, ours: dict[str, Any]) -> Match:
    """What of a source is taken for arrays or shapes `ours`, by their names and --init_map's
    `words`. Raises RequestError where nothing matches, or what does is no numbers."""
    names = renamed(words, source.arrays, ours)
    theirs = {own: source.arrays[name] for name, own in names.items()}
    both = [name for name in ours if name in theirs]
    fits = [name for name in both if theirs[name].shape == ours[name].shape]
    if not any(name in fits for name in ours if ours[name].shape):
        raise RequestError(
            f"--init_from {source.told}: none of its arrays ({_shapes(source.arrays)}) is this "
            f"network's by name and shape ({_shapes(ours)}): name the run's own --model, or give "
            "--init_map.")
    for name in fits:
        if wrong := np.count_nonzero(~np.isfinite(x := theirs[name])):
            raise RequestError(f"--init_from {source.told}: {wrong:,} of the {x.size:,} numbers of "
                               f"{visible(name, '')} are NaN or infinite: name one without any, "
                               "such as one from before its training diverged.")
    return Match(
        {name: theirs[name] for name in fits},
        {name: (theirs[name].shape, ours[name].shape) for name in both if name not in fits},
        [name for name in ours if name not in theirs],
        sorted(name for name, own in names.items() if own not in ours),
    )


def _shapes(arrays: dict[str, Any]) -> str:
    return some([f"{visible(name, '')} {tuple(x.shape)}" for name, x in arrays.items()], most=4)


def named(variables: Any) -> dict[str, Any]:
    """A network's variables by name."""
    return {name_of(path.split("/")): x for path, x in
            zip(paths(variables), jax.tree.leaves(variables), strict=True)}


def table(match: Match, ours: dict[str, Any]) -> Table:
    """A row for each array of either."""
    rows = {name: "taken" for name in match.taken}
    rows |= {name: f"as initialised: {was} there, {now} here"
             for name, (was, now) in match.mismatched.items()}
    rows |= dict.fromkeys(match.left, "as initialised: not there")
    drawn = Table("array", "shape", "", box=None, pad_edge=False)
    for name in ours:
        drawn.add_row(visible(name, ""), str(tuple(ours[name].shape)), rows[name])
    for name in match.unused:
        drawn.add_row(visible(name, ""), "", "not used: this network has none of that name")
    return drawn


def begun(ready: Setup, resume: str = "") -> Setup:
    """The setup whose network begins as --init_from asks; of a run to `resume` that has checkpoints
    of its own, as it is: the other isn't read again. Raises RequestError where it has changed since
    the run began, and where nothing of it matches."""
    config = ready.config
    if not config.init_from:
        return ready
    before = record.read(Path(resume) / "config.json", config).content.get("init") if resume else {}
    if resume and any(at.parts[-3].isdecimal() for at in
                      Path(resume, "checkpoints").glob("*/record/metadata")):
        return ready._replace(facts=ready.facts | ({"init": before} if before else {}))
    source, ours = source_of(config.init_from), named(ready.state_shapes.variables)
    if before and before.get("digest") != source.digest:
        raise RequestError(f"{config.init_from} has changed since the run in {resume} began from "
                           "it, and nothing was saved since: put it back, or start a new run.")
    match = matched(source, config.init_map, ours)
    _tell(ready, source, match, ours)
    network = Begun(ready.learner.network, match.taken, f"{source.digest}{config.init_map}")
    init = {"from": source.told, "digest": source.digest, "taken": [*match.taken],
            "mismatched": match.mismatched, "left": match.left, "unused": match.unused}
    return ready._replace(learner=dataclasses.replace(ready.learner, network=network),
                          facts=ready.facts | {"init": init})


def prepared(ready: Setup, resume: str = "", swept: tuple[str, ...] = ()) -> Setup:
    """The setup to be trained, `begun`. Raises RequestError for what would have no effect here."""
    formulation.check_native(ready)
    graphs.check(ready)
    learner, hyper = ready.learner, ready.request.hyper
    if not resume:  # runs of before were free to name what is idle
        steady.check(learner, hyper, ready.data.train.input_shape)
        effect.check(learner, hyper, ready.lengths, ready.data, swept)
    return begun(ready, resume)


def _tell(ready: Setup, source: Source, match: Match, ours: dict[str, Any]) -> None:
    """What begins how, in words and a table."""
    say, facts = ready.host.console.print, json.loads(json.dumps(ready.facts))
    count = sum(x.size for x in match.taken.values())
    say(f"init: {source.told}: {len(match.taken)} of {len(ours)} arrays taken, {count:,} of "
        f"{sum(int(np.prod(x.shape)) for x in ours.values()):,} numbers")
    for name, was in source.facts.items():
        if facts.get(name) != was:
            told = f" ({visible(some(was), '')})" if name == "classes" else ""
            say(f"init: its {name.replace('_', ' ')} was not what it is here{told}: what fits is "
                "taken all the same")
    say(table(match, ours))
