import jax.numpy as jnp
import numpy as np
import pytest

from engine.programs.program import Program


def scaled(x, by):
    return {"x": x["x"] * by}


def test_it_computes_and_takes_other_values_in_silence():
    program = Program(scaled, x={"x": jnp.ones(3)}, by=jnp.float32(2))
    for by in (3.0, 4.0):
        out = program(x={"x": jnp.ones(3)}, by=jnp.float32(by))
        np.testing.assert_array_equal(out["x"], [by] * 3)
    assert program.seconds > 0


@pytest.mark.parametrize("other", [jnp.ones(4), jnp.ones(3, jnp.int32), "text"])
def test_another_type_is_refused_and_nothing_donated(other):
    program = Program(scaled, donate=("x",), x={"x": jnp.ones(3)}, by=jnp.float32(2))
    with pytest.raises(TypeError):
        program(x={"x": other}, by=jnp.float32(2))
    x = {"x": jnp.ones(3)}
    with pytest.raises(TypeError, match=r"float32\[\].*float32\[3\]"):
        program(x=x, by=jnp.ones(3, jnp.float32))
    np.testing.assert_array_equal(program(x=x, by=jnp.float32(2))["x"], [2] * 3)
    assert x["x"].is_deleted()
