"""How many examples a device computes at once within an update, and why."""

from typing import Any

import jax

from engine.config import Config

ON_CPU = 32
WHOLE_BATCH = "the whole batch at once"
OWN_STATISTICS = ("as asked: each is normalised by batch statistics of its own, and the running "
                  "ones follow microbatch after microbatch")
SEEN = "as asked: an example's loss is of its own microbatch alone"


def microbatch_for(
    config: Config, platform: str, shares: int = 1, variables: Any = None, coupled: bool = False
) -> tuple[int, str]:
    """The examples, and the reason; 0 means a device's whole share of a batch, as of a network
    whose kernels are matrices. Of one that keeps statistics in its `variables`, and where examples
    are `coupled`, since one's loss depends on the others of its batch, anything else is the user's
    choice."""
    share = config.batch_size // shares
    if any(jax.tree.leaves(tree) for name, tree in (variables or {}).items() if name != "params"):
        if config.microbatch:
            return config.microbatch, OWN_STATISTICS
        return 0, f"{WHOLE_BATCH}, which batch statistics are of"
    if config.microbatch:
        return config.microbatch, SEEN if coupled else "as asked"
    even = [d for d in range(ON_CPU // 4, ON_CPU + 1) if share % d == 0]
    params = (variables or {}).get("params")
    flat = params is not None and all(x.ndim < 3 for x in jax.tree.leaves(params))
    patches = platform == "cpu" and config.convolution != "native" and not flat
    if not patches or share <= ON_CPU or not even:
        return 0, WHOLE_BATCH
    if coupled:
        return 0, f"{WHOLE_BATCH}, whose examples see each other"
    return even[-1], f"what {even[-1]} examples need fits the processor's cache"
