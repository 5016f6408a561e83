"""A streamed run equals the resident one, bit for bit."""

import json

import jax
import numpy as np
import pytest
from conftest import Normed, Tiny, random_split
from test_run import rows

from engine.config import Config, Hyper
from engine.place import Place
from engine.run import fit
from engine.sources.dataset import Dataset
from engine.stream import stream

TOLD_APART = ("examples_per_second", "seconds_train", "seconds_compile")


def data(name: str = "own") -> Dataset:
    """37 and 71 pictures: no batch divides them."""
    splits = {"train": random_split(37), "test": random_split(71, seed=1)}
    return Dataset(name, ("a", "b", "c", "d"), splits, "of this test")


def metrics(run) -> dict:
    found = json.loads((run.path / "metrics.json").read_text())
    return {k: v for k, v in found.items() if k not in TOLD_APART}


def trained(tmp_path, name: str, config: Config, **place):
    return fit(config, Hyper(), Place(run_dir=str(tmp_path / name), **place), data(), quiet=True)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Two batches of eight."""
    monkeypatch.setattr(stream, "CHUNK", 2 * 8 * 18 * 18)


@pytest.mark.parametrize("model", [Tiny, Normed])
@pytest.mark.parametrize("validation", ["test", "2/5"])
def test_a_streamed_run_equals_the_resident_one(tmp_path, model, validation):
    config = Config(model=model, batch_size=8, epochs=2, validation_split=validation)
    resident = trained(tmp_path, "resident", config)
    streamed = trained(tmp_path, "streamed", config, stream=True, workers=0)
    assert_same_runs(resident, streamed)


def assert_same_runs(a, b) -> None:
    for x, y in zip(jax.tree.leaves(a.state), jax.tree.leaves(b.state), strict=True):
        np.testing.assert_array_equal(x, y)
    assert rows(a.path) == rows(b.path) and metrics(a) == metrics(b)
