import gzip
import json

import jax
import jax.numpy as jnp

from engine.programs import profile


def test_a_trace_opens_and_its_dearest_operation_is_the_product(tmp_path):
    @jax.jit
    def work(x):
        return jax.lax.fori_loop(0, 20, lambda _, y: jnp.tanh(y @ x), x)

    x = jnp.eye(400)
    compiled = work.lower(x).compile()
    path = profile.trace(tmp_path, lambda: compiled(x))
    found = profile.operations(path, compiled.as_text())
    assert "dot_general" in found[0].source and found[0].seconds > found[1].seconds > 0
    assert not any(operation.name.startswith("while") for operation in found)
    text = profile.table(found, steps=20)
    assert "dot_general" in text.splitlines()[1] and "ms a step" in text
    perfetto = path.parent / "perfetto_trace.json.gz"
    assert json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
