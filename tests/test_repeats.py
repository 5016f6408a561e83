"""Repeats, and examples that are learnt and judged on, are found in what is streamed too."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from engine import sources
from engine.config import Config
from engine.objects import arrays
from engine.parts import inventory
from engine.parts.reading import featured
from engine.pictures import stored_folder
from engine.request import Request
from engine.sets.dataset import Dataset
from engine.sets.stored import Stored
from engine.tables.stored_table import StoredTable


def parts() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pictures uint8 [N, 4, 4, 1] and labels, with these doubts."""
    draw = np.random.default_rng(0)
    train, test = (draw.integers(0, 256, (count, 4, 4, 1), np.uint8) for count in (20, 6))
    train[7] = train[9] = train[3]
    test[2] = train[5]
    return {"train": (train, np.arange(20) % 2), "test": (test, np.arange(6) % 2)}


def folder(root) -> str:
    for split, (inputs, labels) in parts().items():
        for number, (picture, label) in enumerate(zip(inputs, labels, strict=True)):
            path = root / split / "ab"[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[..., 0]).save(path)
    return f"image_folder:{root}"


def table(root, names: str) -> str:
    for split, (inputs, labels) in parts().items():
        columns = {f"{names}{n}": pixel for n, pixel in enumerate(inputs.reshape(-1, 16).T)}
        rows = pd.DataFrame(columns).assign(label=labels.astype(str))
        rows.to_parquet(root / f"{split}.parquet", row_group_size=3)
    return f"table:{root}"


@pytest.fixture(params=["folder", "features", "pixels", "sequence", "array"])
def given(request, tmp_path):
    """A set that is in files, or is asked for example after example, or lies in memory."""
    made = {split: list(zip(*pair, strict=True)) for split, pair in parts().items()}
    if request.param == "sequence":
        return arrays.of(made, stream=True)
    if request.param == "array":
        return arrays.of(parts())
    name = folder(tmp_path) if request.param == "folder" else \
        table(tmp_path, {"features": "width of ", "pixels": "pixel"}[request.param])
    return sources.load(name, stream=True)


def doubts(found: Dataset, train: str = "train") -> tuple[str, ...]:
    config = Config(train_split=train, validation_split="test", batch_size=2)
    found, cut, _ = featured(Request(config), found)
    return inventory.taken(found, cut, "").warnings


def test_they_are_counted_wherever_the_examples_lie(given, request):
    streamed = "array" not in request.node.name
    assert isinstance(given.splits["train"].inputs, Stored | StoredTable) == streamed
    assert doubts(given) == (
        "2 of 20 training examples are repeats of others",
        "1 of 6 validation examples are training examples too, so that their scores are of what "
        "was learnt by heart",
    )
    several = doubts(given, "train[:15]+train[15:]+test")
    assert [said.split(" are ")[0] for said in several] == [
        "3 of 26 training examples", "6 of 6 validation examples"]


def test_more_than_can_be_compared_at_once_is_not_read(tmp_path, monkeypatch):
    found = sources.load(folder(tmp_path), stream=True)
    size = sum(path.stat().st_size for path in (tmp_path / "train").rglob("*.png"))
    monkeypatch.setattr(stored_folder, "MOST_COMPARED", size)
    assert len(doubts(found)) == 2
    with monkeypatch.context() as unread:  # a sweep's groups ask again
        unread.setattr(stored_folder, "content_of", None)
        assert len(doubts(found)) == 2
    monkeypatch.setattr(stored_folder, "MOST_COMPARED", size - 1)
    monkeypatch.setattr(stored_folder, "content_of", None)
    assert doubts(sources.load(f"image_folder:{tmp_path}", stream=True)) == ()
