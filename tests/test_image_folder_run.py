"""Whole runs on a folder of pictures, by the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import launch as program
from engine.drawn import pictures

pytestmark = pytest.mark.usefixtures("quickly")
NETWORK = """
import flax.linen as nn

class Small(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(16)(x.reshape(len(x), -1) - 0.5))
        return nn.Dense(self.num_classes)(x)
"""


@pytest.mark.slow
def test_a_run_on_a_folder_from_training_to_predictions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "DPI", 50)
    root = Path("shades")
    for n in range(60):
        shade = (n % 2) * 190 + n
        (root / ("dark", "light")[n % 2]).mkdir(parents=True, exist_ok=True)
        picture = Image.new("L", (18, 18), shade)
        picture.save(root / ("dark", "light")[n % 2] / f"{n:02}.png")
    Path("net.py").write_text(NETWORK)

    def launched(*words: str) -> tuple[int, str, str]:
        return program.main([*words, "--nocompile_cache"]), *capsys.readouterr()

    asked = ("--device", "cpu", "--batch_size", "8", "--model", "net.py:Small")
    status, _, error = launched("--dataset", "image_folder:shades", "--validation_split", "test",
                                *asked)
    assert status == 2 and "Traceback" not in error
    assert "unknown split of image_folder 'test'" in error
    assert "type --validation_split 0.1." in error
    status, _, error = launched(
        "--dataset", "image_folder:shades", "--train_split", "train[10:]", "--validation_split",
        "0.2", "--epochs", "10", "--learning_rate", "3e-3", *asked)
    assert status == 0, error
    run = tmp_path / "runs/image_folder-shades-Small-1"
    scores = json.loads((run / "metrics.json").read_text())
    assert scores["num_examples"] == 10 and scores["accuracy"] == 1
    _, printed, _ = launched("predict", "--run_dir", str(run), "shades/dark/00.png",
                             "shades/light/59.png")
    rows = [line.split("\t") for line in printed.splitlines()]
    assert [label for _, label, _ in rows] == ["dark", "light"]

    root.rename("moved")
    again = ("--resume", str(run), "--dataset", "image_folder:moved")
    status, _, error = launched(*again, "--epochs", "11")
    assert status == 0, error
    status, _, error = launched(*again, "--epochs", "12", "--stream", "--workers", "0")
    assert status == 2 and "has changed" not in error
    assert "moved is read by --stream, which is not how the run in" in error
    Image.new("L", (18, 18), 7).save("moved/dark/00.png")
    status, _, error = launched(*again, "--epochs", "12")
    assert status == 2 and "has changed since (fingerprint" in error


def bars(path: Path, kind: str, number: int, **how) -> None:
    """24 × 24: v vertical bars, h horizontal ones, d a bright square."""
    rng = np.random.default_rng([number, ord(kind)])
    drawn, offset = rng.integers(0, 60, (24, 24, 3)), rng.integers(0, 4)
    if kind == "v":
        drawn[:, offset::4] += 150
    elif kind == "h":
        drawn[offset::4] += 150
    else:
        drawn[6:18, 6:18] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(drawn.astype(np.uint8))
    if "exif" in how:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
    picture.save(path, **how)


@pytest.mark.slow
def test_a_wrapped_folder_is_learned_and_a_phones_photos_predicted(
    tmp_path, monkeypatch, capsys
):
    """One damaged file is left out; what the run predicts lies on its side, and is upright."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pictures, "DPI", 50)
    for split, count in (("Training", 40), ("Testing", 20)):
        for name, kind in (("daisy", "v"), ("rose", "h"), ("tulip", "d")):
            for n in range(count):
                bars(Path(f"zip/flowers/{split}/{name}/{n}.png"), kind, n + 100 * (count == 20))
    Path("zip/flowers/Training/rose/3.png").write_bytes(b"")
    tag = Image.Exif()
    tag[0x0112] = 6
    for kind in "vh":
        bars(Path(f"{kind}.jpg"), kind, 200, quality=98, exif=tag)

    def launched(*words: str) -> tuple[int, str, str]:
        status = program.main([*words, "--nocompile_cache", "--device", "cpu"])
        return status, *capsys.readouterr()

    asked = ("--dataset", "image_folder:zip", "--model", "cnn", "--epochs", "4", "--batch_size",
             "8", "--validation_split", "test")
    status, _, error = launched(*asked)
    assert status == 2
    assert "1 of its 180 pictures can't be read: flowers/Training/rose/3.png (its" in error
    assert not Path("runs").exists()
    status, printed, error = launched(*asked, "--skip_bad")
    assert status == 0, error
    (run,) = Path("runs").iterdir()
    best = json.loads((run / "metrics.json").read_text())
    assert best["accuracy"] == 1 and best["num_examples"] == 60
    saved = json.loads((run / "config.json").read_text())
    assert saved["classes"] == ["daisy", "rose", "tulip"]
    _, printed, _ = launched("predict", "--run_dir", str(run), "v.jpg", "h.jpg")
    assert "daisy" in printed.splitlines()[0] and "rose" in printed.splitlines()[1]
