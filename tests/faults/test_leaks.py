"""What a long run and a large sweep hold on to: no memory, no descriptors."""

import gc
import os
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from samples import Tiny, random_split

from engine import segments
from engine.config import Config
from engine.place import Place
from engine.request import Request
from engine.run import fit
from engine.store.checkpoint import Checkpoints
from engine.sweep import member, results, sweep
from engine.sweep.search import Search

pytestmark = pytest.mark.slow


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def mebibytes() -> float:
    """Of this process, in memory now."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.fixture(autouse=True)
def its_own_device():
    device = jax.config.jax_default_device
    yield
    jax.config.update("jax_default_device", device)


def test_a_hundred_epochs_hold_on_to_nothing(tmp_path, monkeypatch):
    """Each recorded and saved. The allocator's arenas alone move by some 16 MiB.

    A run before it has imported what a run imports in the background, for its saves and its report.
    """
    save = Checkpoints.save
    monkeypatch.setattr(segments, "APART", 0)
    seen: list[tuple[float, int, int, int]] = []

    def counted(self, *words):
        save(self, *words)
        self.wait()  # one in flight has files and objects of its own
        if len(seen) % 10 == 9:
            gc.collect()
        seen.append((mebibytes(), descriptors(), len(gc.get_objects()), len(jax.live_arrays())))

    config = Config(dataset="digits", image_size=18, model=Tiny, batch_size=256, epochs=100)
    fit(replace(config, epochs=2), place=Place(device="cpu", run_dir=str(tmp_path / "before")),
        quiet=True)
    monkeypatch.setattr(Checkpoints, "save", counted)
    fit(config, place=Place(device="cpu", run_dir=str(tmp_path / "run")), quiet=True)
    early, late = seen[19], seen[99]
    assert late[0] - early[0] < 32
    assert late[1] <= early[1] and late[2] < early[2] + 50 and late[3] <= early[3]


def test_a_sweep_of_sixty_four_closes_what_it_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(results.sweep_report, "write", lambda *_: None)
    save, seen = member.save, []

    def counted(*words):
        save(*words)
        seen.append(descriptors())

    monkeypatch.setattr(member, "save", counted)
    data = {"train": tuple(random_split(64)), "test": tuple(random_split(16, seed=1))}
    config = Config(model=Tiny, epochs=1, batch_size=32)
    place = Place(device="cpu", run_dir=str(tmp_path / "sweep"))
    sweep.run(Request(config, place=place, data=data), Search(seeds=64))
    assert len(seen) == 64 and max(seen[8:]) <= max(seen[:8])
