"""A language model: the next character of a text, by a small causal transformer.

    python examples/language_model.py
"""

from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from flaxmill import Config, Hyper, Place, fit

pages = sorted(Path(__file__).resolve().parents[1].glob("docs/*.md"))
text = "".join(page.read_text() for page in pages).encode("ascii", "ignore")
length, codes = 64, np.array([*text], np.int32)  # of uint8 they would be pictures
windows = codes[: len(codes) // (length + 1) * (length + 1)].reshape(-1, length + 1)
x, y = windows[:, :-1], windows[:, 1:]  # [N, 64] both: the class of a position is the next code
last = len(x) // 10


class Network(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        h = nn.Embed(128, 64)(x)
        h += self.param("places", nn.initializers.normal(0.02), (length, 64))
        mask = nn.make_causal_mask(jnp.ones(x.shape))
        for _ in range(2):
            h += nn.SelfAttention(4)(nn.LayerNorm()(h), mask=mask)
            h += nn.Dense(64)(nn.gelu(nn.Dense(128)(nn.LayerNorm()(h))))
        return nn.Dense(128)(nn.LayerNorm()(h))


run = fit(Config(model=Network(), task="positions", epochs=3, batch_size=16),
          Hyper(learning_rate=3e-3), Place(device="cpu"),
          data={"train": (x[:-last], y[:-last]), "validation": (x[-last:], y[-last:])})

said = x[-1]
for _ in range(40):  # the likeliest next one, again and again
    said = np.append(said[1:], run.predict(said[None])[0, -1])
print(bytes(said.tolist()).decode())
