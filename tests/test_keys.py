import itertools

import jax
import numpy as np

from engine import keys


def test_no_two_uses_share_a_key():
    root = jax.random.key(3)
    uses = itertools.product(keys.STREAMS, range(500))
    seen = {tuple(np.asarray(jax.random.key_data(keys.stream(root, *use)))) for use in uses}
    assert len(seen) == 500 * len(keys.STREAMS)
    assert tuple(np.asarray(jax.random.key_data(root))) not in seen


def test_a_key_depends_on_nothing_else():
    first, second = (keys.stream(jax.random.key(1), "shuffle", 7) for _ in range(2))
    assert first == second
