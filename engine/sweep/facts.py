"""What a sweep rests on, by digests: a resumed one, and each process of a study, have the same."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.doors import bring
from engine.parts import splits
from engine.request import Request
from engine.sources.dataset import Dataset
from engine.sweep.space import Trial
from engine.transfer.source import source_of


def facts_of(request: Request, trials: Iterable[Trial], dataset: Dataset) -> dict[str, Any]:
    swept = {v for trial in trials for v in trial.values.values() if bring.is_file(v)}
    return {"fingerprint": dataset.fingerprint, "files": bring.digests(request.config),
            "held_out": splits.DRAWN,
            "swept_files": {w: bring.digest(Path(w.rpartition(":")[0])) for w in sorted(swept)}
            | {w: source_of(w).digest for w in filter(None, [request.config.init_from])}}
