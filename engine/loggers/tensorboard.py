"""TensorBoard's events in the run's folder: `tensorboard --logdir runs` shows runs and sweeps."""

import io
import os
import time
from collections.abc import Iterator
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
FINAL = "final/"  # before the names of a run's scores


class Tracker:
    """A tracking.Tracker. Events are appended, so that a sweep of a thousand runs has no file open,
    and a run that goes on has one. A part of one, as a full disk leaves it, would hide all later
    ones: it is cut off, and told again."""

    def __init__(self, told: Told):
        self._file = told.path / FILE
        content = files.read(self._file) if self._file.exists() else b""
        records = [*_whole(content)]
        if (size := sum(map(len, records))) < len(content):
            files.replace(self._file, content[:size])
        events = [Event.FromString(record[12:-4]) for record in records]
        scored = [event.step for event in events
                  if any(value.tag.startswith(FINAL) for value in event.summary.value)]
        self.known = {"epoch": max((event.step for event in events), default=0),
                      "scored": max(scored, default=0)}
        if not events:
            self._append(Event(file_version="brain.Event:2"))
        if len(events) < 2:
            values = {k: v if isinstance(v, bool | int | float) else str(v)
                      for k, v in told.values.items()}
            self._append(Event(summary=summary_v2.hparams_pb(values)))

    def row(self, row: dict[str, float]) -> None:
        self._values(_scalars(row), int(row["epoch"]))

    def score(self, epoch: int, scores: dict[str, float], artefacts: list[Path]) -> None:
        values = _scalars({f"{FINAL}{name}": value for name, value in scores.items()})
        for picture in (file for file in artefacts if file.suffix == ".png"):
            with Image.open(picture) as opened:
                wide, high = opened.size
            image = Summary.Image(width=wide, height=high, colorspace=4,
                                  encoded_image_string=files.read(picture))
            values.append(Summary.Value(tag=picture.stem, image=image))
        self._values(values, epoch)

    def close(self, done: bool) -> None:
        """Nothing is open."""

    def _values(self, values: list[Any], epoch: int) -> None:
        self._append(Event(step=epoch, summary=Summary(value=values)))

    def _append(self, event: Any) -> None:
        event.wall_time = time.time()
        descriptor = files.opened(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with open(descriptor, "ab") as file:
            file.write(_record(event.SerializeToString()))


def _scalars(scalars: dict[str, float]) -> list[Any]:
    return [Summary.Value(tag=name, simple_value=value)
            for name, value in scalars.items() if name != "epoch"]


def _record(data: bytes) -> bytes:
    """Its length in 8 bytes and their sum in 4, the data, and their sum in 4."""
    written = io.BytesIO()
    RecordWriter(written).write(data)
    return written.getvalue()


def _whole(content: bytes) -> Iterator[bytes]:
    """The records of a file, up to the first that isn't as it was written."""
    at = 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 8], "little")
        record = _record(content[at + 12 : at + 12 + length])
        if not content.startswith(record, at):
            return
        yield record
        at += len(record)
