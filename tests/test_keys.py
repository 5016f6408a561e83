import jax
import jax.numpy as jnp
import numpy as np

from engine import keys


def test_no_two_uses_share_a_key():
    root = jax.random.key(3)
    every = jax.jit(lambda: jnp.stack([
        jax.random.key_data(jax.vmap(lambda step, name=name: keys.stream(root, name, step))(
            jnp.arange(500))) for name in keys.STREAMS
    ]))
    seen = {tuple(key) for key in np.asarray(every()).reshape(-1, 2)}
    assert len(seen) == 500 * len(keys.STREAMS)
    assert tuple(np.asarray(jax.random.key_data(root))) not in seen


def test_a_key_depends_on_nothing_else():
    first, second = (keys.stream(jax.random.key(1), "shuffle", 7) for _ in range(2))
    assert first == second
