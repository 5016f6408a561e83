"""The traced values of a run: of which class they are, and how others' become such."""

from typing import Any

from engine.config import Config, Hyper
from engine.doors import bring, checks
from engine.errors import RequestError, one_line, some
from engine.fields import plain
from engine.optim import trees


def kind_of(config: Config) -> Any:
    """The class of the run's values: Hyper, what trees follow, or a NamedTuple that the user's own
    optimizer names as the type of its first parameter."""
    return trees.values_of(config.model) or kind_by(config.optimizer)


def kind_by(optimizer: Any) -> Any:
    """That of an optimizer. Raises RequestError for a class without a default of each field."""
    kind = bring.first_type(optimizer, Hyper)
    if missing := [name for name in kind._fields if name not in kind._field_defaults]:
        raise RequestError(f"{kind.__name__}, the values of optimizer {bring.short(optimizer)}, "
                           f"has no default of {some(missing)}: give one, {missing[0]}: float = "
                           "0.1.")
    return kind


def settled(given: Any, hyper: Any) -> Any:
    """The values that a Config's run follows, as plain numbers or tracers: those that its optimizer
    or its trees begin with, where `hyper` is None. Raises RequestError for what is no Config or no
    set of values, for what can't be meant whatever the data, and for what has no effect."""
    if not isinstance(given, Config):
        raise RequestError(f"config is a {type(given).__name__}: give Config(model=...).")
    if hyper is not None and (not hasattr(hyper, "_asdict") or isinstance(hyper, type)):
        raise RequestError(f"hyper is a {type(hyper).__name__}: give Hyper(learning_rate=...), and "
                           "data by its name, data=...")
    checks.check_fields(given)
    kind = kind_of(given)
    hyper = kind() if hyper is None else hyper
    check(hyper, kind, given.optimizer)
    hyper = type(hyper)(*map(plain, hyper))
    checks.check(given, hyper)
    return hyper


def check(hyper: Any, kind: Any, optimizer: Any) -> None:
    """Raise RequestError for values without those of the `kind` that an optimizer of ours needs,
    and for none, several or something else where a number of ours is meant."""
    missing = [name for name in kind._fields if name not in hyper._fields]
    if missing and kind is Hyper and isinstance(optimizer, str):
        raise RequestError(f"hyper is a {type(hyper).__name__}, without {some(missing)}, which "
                           f"--optimizer {optimizer} needs: values of your own come with an "
                           "optimizer of your own, a function of (hyper, durations), or as further "
                           "fields beside those of Hyper.")
    for name, value in hyper._asdict().items() if kind is Hyper else ():
        several = isinstance(value, list | tuple) or getattr(value, "shape", None)
        if name in Hyper._fields and several:
            raise RequestError(f"{name} is several numbers: give one; more are a sweep's, "
                               f"sweep(config, {{{name!r}: [...]}}), or jax.vmap's of train.")
        if value is None and Hyper._field_defaults.get(name) is not None:
            raise RequestError(f"{name} is None: give a number.")
        kind_of_array = getattr(getattr(value, "dtype", None), "kind", None)
        real = isinstance(value, float | int) or kind_of_array in [*"biufV"]  # V: bfloat16
        if name in Hyper._fields and not (real or value is None or isinstance(value, str)):
            course = ", and its course by --schedule or an optimizer of your own" * callable(value)
            raise RequestError(f"{name}: {one_line(repr(value)):.60} is a {type(value).__name__}; "
                               f"give a number{course}.")


def carried(hyper: Any, kind: Any) -> tuple[Any, list[str]]:
    """Values as a `kind`, maybe the same class of a file that was loaded twice; and the names of
    those that are no defaults, and that it hasn't. Trees follow none of a network's."""
    if isinstance(hyper, kind):
        return hyper, []
    if hyper._fields == kind._fields:
        return kind(*hyper), []
    if kind in trees.TREES.values():
        return kind(), []
    given = {name: value for name, value in hyper._asdict().items()
             if value != hyper._field_defaults.get(name)}
    kept = {name: value for name, value in given.items() if name in kind._fields}
    return kind()._replace(**kept), [*given.keys() - kept]
