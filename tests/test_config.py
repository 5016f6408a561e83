import dataclasses
import subprocess
import sys

import pytest
from conftest import ROOT

import launch as program
from engine import flags
from engine.config import HYPER_HELP, Config, Hyper, durations, held_out
from engine.errors import RequestError
from models import MODELS


def test_epochs_become_steps_and_the_last_batch_counts():
    lengths = durations(Config(epochs=10, batch_size=32, warmup_epochs=0.5), 50_000)
    assert lengths == (1563, 782, 15_630)


def test_flags_override_a_recipe_and_leave_the_rest():
    request = flags.parse(["--config", str(ROOT / "configs/article.py"), "--epochs", "3",
                           "--learning_rate=0.01", "--clip_norm", "1"])
    assert request.config == dataclasses.replace(Config(), epochs=3)
    assert request.hyper == Hyper(learning_rate=0.01, clip_norm=1.0)


def test_every_choice_is_there():
    choices = {f.name: f.metadata["choices"] for f in dataclasses.fields(Config)}
    assert set(choices["model"]) == set(MODELS)
    assert set(HYPER_HELP) == set(Hyper._fields)


@pytest.mark.parametrize("text, value", [("0.1", 0.1), ("2/5", (2, 5)), ("test", None),
                                         ("a/b", None), ("train", None)])
def test_validation_split_is_a_fraction_a_fold_or_a_name(text, value):
    assert held_out(Config(validation_split=text)) == value


@pytest.mark.parametrize(
    "words, said",
    [
        (["--modle", "cnn"], "model"),
        (["--model", "cnm"], "did you mean cnn"),
        (["--optimizer", "adamm"], "did you mean adam"),
        (["--schedule", "cosin"], "did you mean cosine"),
        (["--device", "cuda"], "did you mean"),
        (["--epochs", "0"], "--epochs 0: type 1 or more"),
        (["--epochs", "ten"], "ten"),
        (["--batch_size", "-4"], "--batch_size -4"),
        (["--batch_size", "32", "--microbatch", "5"], "does not divide"),
        (["--learning_rate", "nan"], "--learning_rate nan"),
        (["--label_smoothing", "1"], "below 1"),
        (["trian"], "did you mean train"),
        (["train", "more"], "flags only"),
        (["eval"], "--run_dir"),
        (["eval", "--run_dir", "nowhere"], "no run in nowhere"),
        (["--resume", "nowhere"], "no run in nowhere"),
        (["--config", "configs/nothing.py"], "no such recipe"),
    ],
)
def test_a_bad_request_is_one_clear_line_and_status_2(words, said, capsys):
    assert program.main(words) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_a_fraction_outside_0_to_1_is_refused():
    with pytest.raises(RequestError, match="between 0 and 1"):
        held_out(Config(validation_split="1.5"))


def test_help_imports_nothing_heavy():
    script = (
        "import sys, launch; assert launch.main(['--help']) == 0; "
        "heavy = {'jax', 'flax', 'tensorflow_datasets', 'matplotlib', 'sklearn', 'numpy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)
