"""TensorBoard's events in the run's folder: `tensorboard --logdir runs` shows runs and sweeps."""

import os
import time
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2
from tensorboard.summary.writer.record_writer import RecordWriter

from engine.disk import files
from engine.loggers.tracking import Told

FILE = "events.out.tfevents.flaxmill"
PACKAGE = "tensorboard"


class Tracker:
    """A tracking.Tracker. Events are appended, so that a sweep of a thousand runs has no file open,
    and a run that goes on has one."""

    id = ""

    def __init__(self, told: Told):
        self._file = told.path / FILE
        if not self._file.exists():
            self._append(Event(file_version="brain.Event:2"))
            values = {k: v if isinstance(v, bool | int | float) else str(v)
                      for k, v in told.values.items()}
            self._append(Event(summary=summary_v2.hparams_pb(values)))

    def row(self, row: dict[str, float]) -> None:
        self._scalars(row, int(row["epoch"]))

    def score(self, epoch: int, scores: dict[str, float], artefacts: list[Path]) -> None:
        self._scalars({f"final/{name}": value for name, value in scores.items()}, epoch)
        for picture in (file for file in artefacts if file.suffix == ".png"):
            with Image.open(picture) as opened:
                wide, high = opened.size
            image = Summary.Image(width=wide, height=high, colorspace=4,
                                  encoded_image_string=files.read(picture))
            self._values([Summary.Value(tag=picture.stem, image=image)], epoch)

    def close(self, done: bool) -> None:
        """Nothing is open."""

    def _scalars(self, scalars: dict[str, float], epoch: int) -> None:
        self._values([Summary.Value(tag=name, simple_value=value)
                      for name, value in scalars.items() if name != "epoch"], epoch)

    def _values(self, values: list[Any], epoch: int) -> None:
        self._append(Event(step=epoch, summary=Summary(value=values)))

    def _append(self, event: Any) -> None:
        event.wall_time = time.time()
        descriptor = files.opened(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with open(descriptor, "ab") as file:
            RecordWriter(file).write(event.SerializeToString())
