"""Whole runs on a folder of pictures, by the command line."""

import json
from pathlib import Path

import pytest
from PIL import Image

import launch as program
from engine.report import pictures

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
    status, _, error = launched("--dataset", "image_folder:shades", *asked)
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
    Image.new("L", (18, 18), 7).save("moved/dark/00.png")
    status, _, error = launched(*again, "--epochs", "12")
    assert status == 2 and "has changed since (fingerprint" in error
