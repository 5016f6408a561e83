"""The article's set: real CIFAR-10, where it is prepared."""

import json

import pytest

from engine import sources


@pytest.mark.slow
def test_a_sixth_of_an_epoch_on_real_cifar10(launch, tmp_path, monkeypatch):
    where = sources.data_dir("")
    if "cifar10" not in sources.prepared(where):
        pytest.skip(f"no prepared cifar10 in {where}: set TFDS_DATA_DIR")
    monkeypatch.setenv("TFDS_DATA_DIR", str(where))
    done = launch("--batch_size", "64", "--epochs", "1", "--device", "cpu", "--run_dir", "run",
                  "--learning_rate", "0.002", "--train_split", "train[:8000]")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert scores["num_examples"] == 10_000 and 0.25 < scores["accuracy"] < 0.5
