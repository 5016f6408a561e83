"""A function's convolutions and max-poolings written as what each platform runs fastest.

XLA:CPU optimises convolutions in a program's entry computation only; inside a loop their gradients
run as plain nested loops, 20 to 50 times slower. A matrix product over image patches is safe there,
and faster outside it too. So the function is traced, before anybody differentiates it, and its
equations are evaluated again with that in the place of its convolutions. It may be any: a network
of Linen or NNX, or neither.

`how`: "auto" is the product on a CPU and XLA's convolution elsewhere, chosen at lowering; "product"
and "direct" are one of them everywhere; "gathered" is the product as a GPU wants it; "native" is
"auto" but for what our own kernel for a CPU can compute. Max-pooling is the maximum of slices in
all of them, as XLA's own has a gradient that a GPU adds up in any order.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array, lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxprs_in_params, primitives

from engine.formulation import pooling
from engine.formulation.patches import direct, is_depthwise, native, patch_bytes, product, refusal
from engine.native.convolution import refusal as kernel_refusal

INNER = {  # the functions that an equation calls, where they may be rewritten
    primitives.jit_p: "jaxpr", primitives.scan_p: "jaxpr", primitives.while_p: "body_jaxpr",
    primitives.cond_p: "branches", primitives.remat_p: "jaxpr",
}
WAYS: dict[str, Callable[..., Array]] = {
    "product": product, "gathered": partial(product, for_gpu=True), "direct": direct,
    "native": native,
}
REFUSAL = {  # what is rewritten, and what says why one isn't
    primitives.conv_general_dilated_p: refusal,
    primitives.reduce_window_max_p: pooling.refusal,
}


def rewritten(function: Callable, how: str = "auto") -> Callable:
    """The same function of the same arguments, whose arrays may be tracers; other arguments, such
    as a Python bool, it gets as they are.

    Values and gradients are those of lax, but for the order of summation. Ties in pooling too: the
    first maximum of a window gets the gradient.
    """

    @functools.wraps(function)
    def evaluated(*args: Any, **kwargs: Any) -> Any:
        jaxpr, arrays, tree = _traced(function, args, kwargs)
        return jax.tree.unflatten(tree, _evaluated(jaxpr.jaxpr, jaxpr.consts, arrays, how))

    return evaluated


class Census(NamedTuple):
    """Of a function: its convolutions, those rewritten as products, why the others are not, its
    max-poolings that are rewritten, the convolutions that the native kernel would compute,
    and the bytes of the products' patches. A loop's body counts once."""

    convolutions: int
    products: int
    left: dict[str, int]
    poolings: int
    kernels: int
    patches: int

    def __str__(self) -> str:
        told = f"{self.products} of {self.convolutions} convolutions as products over patches"
        left = ", ".join(f"{count} {reason}" for reason, count in self.left.items())
        return f"{told}; left as they are: {left}" if left else told


def census(function: Callable, *args: Any, **kwargs: Any) -> Census:
    """What `rewritten` does with it. Arguments may be shapes, jax.ShapeDtypeStruct."""
    fates: dict[Any, Counter[str]] = {p: Counter() for p in REFUSAL}
    kernels = patches = 0
    for eqn, fate in _found(_traced(function, args, kwargs)[0].jaxpr):
        fates[eqn.primitive][fate] += 1
        kernels += not fate and _by_kernel(eqn)
        if not fate and eqn.primitive is primitives.conv_general_dilated_p:
            patches += patch_bytes(eqn)
    convolutions, poolings = fates.values()
    count, done = convolutions.total(), convolutions.pop("", 0)
    return Census(count, done, dict(convolutions.most_common()), poolings[""], kernels,
                  patches)


def _traced(function: Callable, args: Any, kwargs: Any) -> tuple[ClosedJaxpr, list[Array], Any]:
    """Its equations, the arrays among its arguments, and the tree of its result."""
    leaves, tree = jax.tree.flatten((args, kwargs))
    taken = [isinstance(x, jax.Array | np.ndarray | np.generic | jax.ShapeDtypeStruct)
             for x in leaves]

    def of_arrays(*arrays: Array) -> Any:
        given = iter(arrays)
        all_leaves = [next(given) if t else x for t, x in zip(taken, leaves, strict=True)]
        args, kwargs = jax.tree.unflatten(tree, all_leaves)
        return function(*args, **kwargs)

    arrays = list(itertools.compress(leaves, taken))
    jaxpr, shape = jax.make_jaxpr(of_arrays, return_shape=True)(*arrays)
    return jaxpr, arrays, jax.tree.structure(shape)


def _inner(eqn: JaxprEqn) -> list[Jaxpr]:
    """The functions that it calls and that may be rewritten."""
    called = eqn.params[INNER[eqn.primitive]] if eqn.primitive in INNER else ()
    return list(jaxprs_in_params({"called": called}))


def _fate(eqn: JaxprEqn) -> str | None:
    """Why it stays as it is, "" where it is rewritten, None where it is of no concern here."""
    return REFUSAL[eqn.primitive](eqn) if eqn.primitive in REFUSAL else None


def _by_kernel(eqn: JaxprEqn) -> bool:
    """Whether it is a convolution that the native kernel computes, where it is asked for."""
    return eqn.primitive is primitives.conv_general_dilated_p and not kernel_refusal(eqn)


def _found(jaxpr: Jaxpr, kept: str = "") -> Iterator[tuple[JaxprEqn, str]]:
    """All convolutions and max-poolings with their fate, `kept` for the reason if given."""
    for eqn in jaxpr.eqns:
        if (fate := _fate(eqn)) is not None:
            yield eqn, kept or fate
        inner = _inner(eqn)
        for body in inner or jaxprs_in_params(eqn.params):
            yield from _found(body, kept or ("" if inner else f"in {eqn.primitive}"))


def _evaluated(jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any], how: str) -> list[Any]:
    """The results of a traced function, rewritten."""
    value = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else value[atom]

    groups = {id(group.pool): group
              for group in pooling.together(jaxpr, may=lambda eqn: _fate(eqn) == "")}
    waits = {id(eqn) for group in groups.values()
             for eqn in (group.convolution, *(step for step, _ in group.between))}
    for eqn in jaxpr.eqns:
        if id(eqn) in waits:
            continue
        with jax.named_scope(str(eqn.source_info.name_stack)), eqn.ctx.manager:
            if group := groups.get(id(eqn)):
                y = _convolved(how, group.convolution, eqn, *map(read, group.convolution.invars))
                results = [group.after(y, read)]
            else:
                results = _results(eqn, [read(atom) for atom in eqn.invars], how)
        value.update(zip(eqn.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _results(eqn: JaxprEqn, values: list[Any], how: str) -> list[Any]:
    """One equation's, rewritten where it can be."""
    if _fate(eqn) == "":
        if eqn.primitive is primitives.reduce_window_max_p:
            return [pooling.pooled(values[0], eqn.params)]
        return [_convolved(how, eqn, None, *values)]
    if any(not fate for body in _inner(eqn) for _, fate in _found(body)):
        return _entered(eqn, values, how)
    return _bound(eqn, values)


def _bound(eqn: JaxprEqn, values: Sequence[Any], **changes: Any) -> list[Any]:
    """The results of the equation as it is, but for `changes` of its parameters."""
    parameters = eqn.primitive.get_bind_params(eqn.params | changes)
    result = eqn.primitive.bind(*values, **parameters)
    return result if eqn.primitive.multiple_results else [result]


def _entered(eqn: JaxprEqn, values: Sequence[Any], how: str) -> list[Any]:
    """The same call, of functions that are rewritten."""
    name = INNER[eqn.primitive]
    if eqn.primitive is primitives.remat_p:
        body = partial(_evaluated, eqn.params[name], (), how=how)
        kept = {key: eqn.params[key] for key in ("prevent_cse", "policy")}
        return jax.checkpoint(lambda *args: body(args), **kept)(*values)

    def anew(called: ClosedJaxpr) -> ClosedJaxpr:
        body = partial(_evaluated, called.jaxpr, called.consts, how=how)
        return jax.make_jaxpr(lambda *args: body(args))(*called.in_avals)

    return _bound(eqn, values, **{name: jax.tree.map(anew, eqn.params[name])})


def _convolved(
    how: str, convolution: JaxprEqn, pool: JaxprEqn | None, x: Array, kernel: Array
) -> Array:
    """The convolution, and the pooling after it if there is one.

    The backward pass names the forward's patches again rather than keeping them: inside one
    program the compiler computes them once. What is under a depthwise kernel is read where it lies.
    """
    for_cpu = "native" if how == "native" and _by_kernel(convolution) else "product"
    way = _way(how, for_cpu, *(each and tuple(sorted(each.params.items()))
                               for each in (convolution, pool)))
    if for_cpu == "native" or is_depthwise(convolution):
        return way(x, kernel)
    y: Array = jax.checkpoint(way, prevent_cse=False)(x, kernel)
    return y


@functools.lru_cache(maxsize=1024)
def _way(how: str, for_cpu: str, convolution: Any, pool: Any) -> Callable[..., Array]:
    """One function for all that are alike: jax traces and differentiates it once."""
    ways = {name: partial(way, dict(convolution), pool and dict(pool))
            for name, way in WAYS.items()}
    return ways[how] if how in ("product", "gathered", "direct") else partial(
        lax.platform_dependent, cpu=ways[for_cpu], default=ways["direct"])
