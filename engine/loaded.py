"""A run, or a sweep's runs as one, from its folder."""

import os

from engine.config import Config
from engine.disk import whereabouts
from engine.job.host import undisturbed
from engine.sweep import ensembles
from engine.trained import Run, loaded


@undisturbed()
def load(
    run: str | os.PathLike[str], config: Config | None = None, checkpoint: str = "best",
    best_of: int = 0,
) -> Run:
    """The run in the folder `run`, in any process; its `best` checkpoint by validation, or its
    `last`, which a resumed run goes on from. Of a sweep's folder an Ensemble of its finished runs,
    or of the `best_of` so many by validation.

    `config` is needed where the run's own can't be read again: its network, task or optimizer were
    objects. Raises RequestError where there is no run, or a file of the user's has changed.
    """
    path = whereabouts.given(run)
    if ensembles.of(path, best_of):
        return ensembles.loaded(path, config, checkpoint, best_of)
    return loaded(path, config, checkpoint)
