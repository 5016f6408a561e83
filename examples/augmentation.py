"""An augmentation: a pure function of a key and a batch.

    flaxmill --augment examples/augmentation.py:jitter --config examples/recipe.py
"""

import jax


def jitter(key, inputs):
    """Noise in float32 inputs [B, ...], of another key every step; uint8 pictures are in 0..1."""
    return inputs + 0.05 * jax.random.normal(key, inputs.shape)
