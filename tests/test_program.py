import jax.numpy as jnp
import numpy as np
import pytest

from engine.programs.program import Program, RetraceWarning


def scaled(x, by):
    return {"x": x["x"] * by}


def test_it_computes_and_takes_other_values_in_silence():
    program = Program(scaled, x={"x": jnp.ones(3)}, by=jnp.float32(2))
    for by in (3.0, 4.0):
        out = program(x={"x": jnp.ones(3)}, by=jnp.float32(by))
        np.testing.assert_array_equal(out["x"], [by] * 3)
    assert program.seconds > 0


def test_a_retrace_names_the_argument_that_changed_and_computes():
    program = Program(scaled, x={"x": jnp.ones(3)}, by=jnp.float32(2))
    with pytest.warns(RetraceWarning, match=r"again: 'x'\]\['x' was f.*\[3\], now .*\[4\]"):
        out = program(x={"x": jnp.ones(4)}, by=jnp.float32(2))
    assert out["x"].shape == (4,)
    program(x={"x": jnp.ones(4)}, by=jnp.float32(2))


def test_donated_arguments_survive_a_retrace():
    program = Program(scaled, donate=("x",), x={"x": jnp.ones(3)}, by=jnp.float32(2))
    x = {"x": jnp.ones(3)}
    with pytest.warns(RetraceWarning, match="by' was .*, now "):
        out = program(x=x, by=jnp.ones(3, jnp.float32))
    np.testing.assert_array_equal(out["x"], np.ones(3))
    assert x["x"].is_deleted()


def test_an_error_that_is_no_retrace_stays_itself():
    program = Program(scaled, x={"x": jnp.ones(3)}, by=jnp.float32(2))
    with pytest.raises(TypeError):
        program(x={"x": "text"}, by=jnp.float32(2))
