"""Which parameters learn, from when on and how fast: by globs over their paths, Conv_0/kernel.

A glob names a parameter or all that is below it: Conv_* is Conv_0/kernel too.
"""

import fnmatch
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from engine.errors import RequestError, unknown
from engine.optim import lengths
from engine.optim.late import jax, jnp, optax
from engine.optim.lengths import Duration

NEVER = math.inf
_STATES = re.compile(r"\.inner_states\[(-?\d+)\]")  # a group's, in the path of a leaf


class Rule(NamedTuple):
    """A glob and its value as typed: of --rate a multiple of the rate or, `absolute`, a rate; of
    --unfreeze a duration."""

    glob: str
    value: Duration
    absolute: bool = False


class Groups(NamedTuple):
    """What --freeze, --unfreeze and --rate ask for, in the order typed; the last that names a
    parameter counts."""

    frozen: tuple[str, ...]
    late: tuple[Rule, ...]
    rates: tuple[Rule, ...]


def asked(freeze: str, unfreeze: str, rate: str) -> Groups | None:
    """The words of the three flags; None where there are none. Raises RequestError for what is
    neither a glob nor a glob and its value."""
    if not (freeze or unfreeze or rate):
        return None
    frozen = tuple(_words("freeze", freeze, "Conv_*,Dense_0/bias"))
    late = [_rule("unfreeze", word, "Conv_1=2ep or Conv_1=300st", lengths.duration) for word in
            _words("unfreeze", unfreeze, "Conv_1=2ep")]
    rates = [_rule("rate", word, "Conv_*=0.1x or Dense_1=0.001", _number) for word in
             _words("rate", rate, "Conv_*=0.1x")]
    return Groups(frozen, tuple(late), tuple(rates))


def _number(text: str) -> float:
    """0.1 of 0.1x, and of 0.1."""
    return float(text.removesuffix("x"))


def _words(flag: str, text: str, example: str) -> list[str]:
    words = [word.strip() for word in text.split(",")] if text else []
    if not all(words):
        raise RequestError(f"--{flag} {text!r} names nothing between its commas: type {example}.")
    return words


def _rule(flag: str, word: str, example: str, value_of: Callable[[str], Duration]) -> Rule:
    glob, _, text = word.rpartition("=")
    try:
        value = value_of(text)
    except ValueError:
        value = NEVER
    if not (glob and (lengths.is_steps(value) or 0 < float(value) < NEVER)):
        raise RequestError(f"--{flag} {word}: type a parameter's path and a finite number above 0, "
                           f"such as {example}.")
    return Rule(glob, value, absolute=not text.endswith("x"))


def named(glob: str, path: str) -> bool:
    """Whether a glob names the parameter at a path, or something that it lies in."""
    return fnmatch.fnmatchcase(path, glob) or fnmatch.fnmatchcase(path, f"{glob}/*")


def paths(params: Any) -> list[str]:
    """Of every parameter, in the order of their leaves."""
    return [jax.tree_util.keystr(path, simple=True, separator="/")
            for path, _ in jax.tree_util.tree_leaves_with_path(params)]


def _chosen(flag: str, glob: str, found: Iterable[str]) -> list[str]:
    """The paths that a glob names. Raises RequestError for none, with the nearest."""
    chosen = [path for path in found if named(glob, path)]
    if not chosen:
        parts = [path.split("/") for path in found]
        above = {"/".join(part[:n]) for part in parts for n in range(1, len(part))}
        raise unknown(f"parameter of --{flag}", glob, above or found)
    return chosen


def begins(groups: Groups, found: list[str]) -> dict[str, Duration]:
    """When each parameter begins to learn: 0.0 from the start on, or NEVER. Raises RequestError for
    a glob that names none, and where nothing would learn."""
    begin: dict[str, Duration] = dict.fromkeys(found, 0.0)
    for glob in groups.frozen:
        begin |= dict.fromkeys(_chosen("freeze", glob, found), NEVER)
    for glob, epochs, _ in groups.late:
        begin |= dict.fromkeys(_chosen("unfreeze", glob, found), epochs)
    if found and all(begin.values()):
        when = "at all" if {*begin.values()} == {NEVER} else "in the beginning"
        raise RequestError(f"--freeze and --unfreeze name every parameter, so that nothing would "
                           f"learn {when}: leave some out.")
    return begin


def multiples(groups: Groups, found: list[str], rate: Any) -> dict[str, Any]:
    """What each parameter's update is multiplied by, where that isn't 1; `rate` is the run's, may
    be traced, and is asked only for an absolute one."""
    times: dict[str, Any] = {}
    for glob, value, absolute in groups.rates:
        times |= dict.fromkeys(_chosen("rate", glob, found), value / rate if absolute else value)
    begin = begins(groups, found)
    for glob, *_ in groups.rates:
        if all(begin[path] == NEVER for path in found if named(glob, path)):
            raise RequestError(f"--rate {glob} has no effect: what it names is frozen; leave it "
                               "out.")
    return times


def grouped(
    groups: Groups, chain: Callable[[int], Any], clip: list[Any], rate: Any, epoch: int
) -> Any:
    """An optax.GradientTransformation that moves each group of parameters that begin together by
    its own `chain(first step)`, which sees no others: what is frozen has no state. What is not
    learnt yet doesn't count in the norm of `clip`, and keeps its bits. `epoch` is in steps."""
    def by_path(tree: Any, values: dict[str, Any], other: Any) -> Any:
        leaves = [values.get(path, other) for path in paths(tree)]
        return jax.tree.unflatten(jax.tree.structure(tree), leaves)

    def built(params: Any) -> Any:
        begin = begins(groups, paths(params))
        first = {after: -1 if after == NEVER else lengths.in_steps(after, epoch)
                 for after in begin.values()}  # step; -1 for never
        starts = by_path(params, {path: first[after] for path, after in begin.items()}, 0)
        keys = _keys(begin.values())
        labels = by_path(params, {path: keys[after] for path, after in begin.items()}, 0)
        times = by_path(params, multiples(groups, paths(params), rate), 1)
        parts = {key: _from(key, first[after], chain) for after, key in keys.items()}
        held = [_only(starts), *clip] if clip else []
        return optax.chain(*held, optax.partition(parts, labels), _rated(times), _still(starts))

    return optax.GradientTransformation(
        lambda params: built(params).init(params),
        lambda gradient, state, params: built(params).update(gradient, state, params),
    )


def _keys(begin: Iterable[Duration]) -> dict[Duration, int]:
    """What the state of a group goes by, whatever the run's length: the step where that is typed,
    of epochs -2, -3 and so on in their order; 0 from the start on, -1 for never."""
    known = {after: int(after.removesuffix("st")) if isinstance(after, str) else
             -1 if after == NEVER else 0 for after in begin}
    late = sorted(after for after in known if not isinstance(after, str) and 0 < after < NEVER)
    return known | {after: -2 - place for place, after in enumerate(late)}


def steps_of(state: Any, saved: Iterable[str]) -> dict[int, int]:
    """The steps that late groups of `state` went by in runs of before, by their keys of now, where
    the paths of a `saved` one's leaves have such."""
    there, now = ({int(key) for path in several for key in _STATES.findall(path)} for several in (
        saved, (jax.tree_util.keystr(path) for path, _ in
                jax.tree_util.tree_leaves_with_path(state))))
    late = sorted((key for key in now - there if key < -1), reverse=True)
    return dict(zip(late, sorted(there - now), strict=False))


def rekeyed(state: Any, keys: dict[int, int]) -> Any:
    """The state, its groups by other `keys`."""
    def is_grouped(part: Any) -> bool:
        return isinstance(part, optax.transforms.PartitionState)

    def again(part: Any) -> Any:
        return part if not is_grouped(part) else part._replace(inner_states={
            keys.get(key, key): own for key, own in part.inner_states.items()})

    return jax.tree.map(again, state, is_leaf=is_grouped)


def _from(key: int, step: int, chain: Callable[[int], Any]) -> Any:
    """The chain of the group that goes by `key`, whose own count begins with it; of a late one,
    though its epochs be less than a step, in the same form."""
    if key == -1:
        return optax.set_to_zero()
    if key == 0:
        return chain(0)
    return optax.transforms.conditionally_mask(chain(step), lambda now: now >= step)


def _only(starts: Any) -> Any:
    """The gradient of what learns by now, 0 of the rest."""
    def update(gradient: Any, now: Any, params: Any = None) -> Any:
        def on(g: Any, start: int) -> Any:
            return jnp.where((now >= start) & (start >= 0), g, jnp.zeros_like(g))

        return jax.tree.map(on, gradient, starts), now + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


def _rated(times: Any) -> Any:
    """Updates times a number each; 1 leaves its one alone."""
    def scale(update: Any, factor: Any) -> Any:
        return update if isinstance(factor, int) else update * factor

    return optax.stateless(lambda updates, _: jax.tree.map(scale, updates, times))


def _still(starts: Any) -> Any:
    """No update is -0: p + -0.0 is p to the bit, and -0.0 + 0.0 would be 0.0."""
    def still(update: Any, start: int) -> Any:
        return jnp.where(update == 0, jnp.full_like(update, -0.0), update) if start else update

    return optax.stateless(lambda updates, _: jax.tree.map(still, updates, starts))


def told(groups: Groups | None, params: Any) -> list[str]:
    """What learns when and how fast, in lines; `params` may be shapes. Raises RequestError as
    `begins` and `multiples` do."""
    if groups is None:
        return []
    found = paths(params)
    begin, size = begins(groups, found), dict(zip(
        found, (math.prod(x.shape) for x in jax.tree.leaves(params)), strict=True))
    lines = []
    if held := [path for path in found if begin[path] == NEVER]:
        lines.append(f"freeze: {len(held)} of {len(found)} parameters stay as they are "
                     f"({sum(size[path] for path in held):,} of {sum(size.values()):,} numbers); "
                     "batch statistics follow the data all the same")
    for after in dict.fromkeys(value for value in begin.values() if value not in (0, NEVER)):
        several = [path for path in found if begin[path] == after]
        told = after if lengths.is_steps(after) else f"{after:g}ep"
        lines.append(f"unfreeze: {', '.join(several)} after {told}")
    if multiples(groups, found, 1.0):
        lines.append("rate: " + ", ".join(
            f"{rule.glob} {rule.value:g}{'' if rule.absolute else ' times the others'}"
            for rule in groups.rates))
    return lines
