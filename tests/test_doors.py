"""What a user brings that can't be meant: by its words, with status 2, and nothing left behind."""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import types
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT
from PIL import Image
from samples import Tiny

import launch
from engine import (
    Classification,
    Config,
    Hyper,
    RequestError,
    Task,
    data_for,
    evaluate,
    fit,
    load,
    partition,
    train,
)
from engine.doors import bring, ours
from engine.doors.requested import completed
from engine.learners import effect
from engine.objects import arrays
from engine.optim.lengths import Durations
from engine.request import Request
from engine.store import record

LINEN = """
import flax.linen as nn

class Mine(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.reshape(x.shape[0], -1)
        return """
TASK = """
from flaxmill import Task

class Mine(Task):
    kind = "classes"
    def loss(self, outputs, targets, hyper):
        return """
WRONG = {
    "no such name": ("model", "class Mint: pass", "unknown name in .*'Mine': did you mean Mint"),
    "it raises": ("model", "x = 1\n1 / 0", "mine.py, line 2: ZeroDivisionError: division by zero"),
    "no Python": ("model", "x = 1\ny = (", "mine.py, line 2: SyntaxError: '\\(' was never closed"),
    "it leaves": ("model", "import sys\nsys.exit(3)", "mine.py, line 2: SystemExit: 3"),
    "no such module": ("model", "import nope", "line 1: ModuleNotFoundError: .*'nope'"),
    "a factory's arguments": ("model", "def Mine(width, depth): pass",
                              "missing 2 .* 'width' and 'depth'. It is called with .* num_outputs"),
    "a factory that raises": ("model", "def Mine(num_outputs):\n    raise ValueError('no')",
                              "model Mine: .*mine.py, line 2: ValueError: no"),
    "a factory of none": ("model", "def Mine(num_outputs): return 3", "gives a int, which is no"),
    "no network": ("model", "Mine = 3", "model Mine is a int, which is no network: give a Linen"),
    "another class": ("model", "class Mine: pass", "gives a Mine, which is no network"),
    "too few outputs": ("model", LINEN + "nn.Dense(7)(x)", r"\(2, 7\) for 2 .*needs \(2, 10\)"),
    "a tuple": ("model", LINEN + "nn.Dense(10)(x), x", r"a tuple for 2 .*needs \(2, 10\)"),
    "a network that raises": ("model", LINEN + "x + nope",
                              "does not fit 32 × 32 × 1 images: .*mine.py, line 8: NameError"),
    "a network that asks": ("model", LINEN + "x if x.sum() > 0 else -x",
                            "mine.py, line 8: TracerBoolConversionError: Attempted boolean"),
    "a batch kept": ("model", LINEN.replace("(self, x)", "(self, x, train)").replace(
        "x = x.resh", "kept = self.variable('cache', 'last', lambda: x)\n"
        "        if train: kept.value = x\n        x = x.resh") + "nn.Dense(10)(x)",
                     r"cache.last float32 \(1, 32, 32, 1\), and a training call leaves float32 "
                     r"\(2, 32, 32, 1\): keep arrays"),
    "a call's arguments": ("model", LINEN.replace("(self, x)", "(self, x, mask)") + "x",
                           "missing 1 required positional argument: 'mask'"),
    "no optimizer": ("optimizer", "Mine = 3", r"give a function of \(hyper, durations\)"),
    "an optimizer itself": ("optimizer", "import optax\nMine = optax.adam(1e-3)",
                            r"is a GradientTransformation.*give a function"),
    "no chain": ("optimizer", "def Mine(hyper, durations): return 3", "gives a int: return an Op"),
    "an optimizer's arguments": ("optimizer", "def Mine(hyper): pass",
                                 r"takes 1 .* 2 were given. It is .* with \(hyper, durations\)"),
    "no such value": ("optimizer", "import optax\ndef Mine(hyper, durations):\n"
                      "    return optax.adam(hyper.rate)", "mine.py, line 3: AttributeError"),
    "another shape": ("augment", "def Mine(key, x): return x[:, 1:]",
                      r"gives float32 \(2, 31, 32, 1\) for .*float32 \(2, 32, 32, 1\)"),
    "another dtype": ("augment", "def Mine(key, x): return x.astype(int)",
                      "gives int32 .* float32"),
    "no arrays": ("augment", "def Mine(key, x): pass", "gives NoneType for inputs of float32"),
    "other targets": ("augment", "def Mine(key, x, targets): return x, targets[:1]",
                      r"gives int32 \(1,\) for targets of int32 \(2,\): give targets of the same "
                      r"shape and dtype, or float32 \(2, 10\)"),
    "an augmentation's arguments": ("augment", "def Mine(x): return x",
                                    r"takes 1 .* 2 were given. It is called with \(key, inputs\)"),
    "an augmentation that raises": ("augment", "def Mine(key, x):\n    return x + nope",
                                    "augment Mine: .*mine.py, line 2: NameError"),
    "a value without a default": (
        "optimizer", "import optax\nfrom typing import NamedTuple\nclass H(NamedTuple):\n"
        "    rate: float\ndef Mine(hyper: H, durations): return optax.sgd(hyper.rate)",
        "H, the values of optimizer Mine, has no default of rate: give one"),
    "steps of several batches": (
        "optimizer", "import optax\ndef Mine(hyper, durations):\n"
        "    return optax.MultiSteps(optax.sgd(0.1), 4)",
        r"gives a MultiSteps: return an Optax chain, .* or its gradient_transformation\(\)"),
    "an update of more": (
        "optimizer", "import optax\ndef Mine(hyper, durations):\n"
        "    return optax.contrib.reduce_on_plateau()",
        "'value'.*its chain's update with the gradients, the state and the parameters"),
    "no task": ("task", "class Mine: pass", "is a Mine: give a subclass of flaxmill.Task"),
    "no loss": ("task", "from flaxmill import Task\nclass Mine(Task): kind = 'classes'",
                "NotImplementedError: Mine has no loss"),
    "one loss for all": ("task", TASK + "outputs.mean()", r"shape \(\) for 2 examples, not \(2,\)"),
    "too many losses": ("task", TASK + "outputs", r"shape \(2, 10\) for 2 examples, not \(2,\)"),
    "a loss's arguments": ("task", TASK.replace(", hyper", "") + "outputs.mean(-1)",
                           r"takes 3 .* 4 were given. It is called with \(outputs, .*hyper"),
    "a loss that raises": ("task", TASK + "nope", "Mine's loss: .*mine.py, line 7: NameError"),
    "hyper where it is judged": ("task", TASK + "hyper.learning_rate * outputs.mean(-1)",
                                 "judged, of hyper None,.*mine.py, line 7: AttributeError"),
    "no such kind": ("task", TASK.replace("classes", "class") + "outputs.mean(-1)",
                     "unknown kind of task Mine 'class': did you mean classes"),
    "no such score": ("task", TASK.replace('kind', 'score = "los"; kind') + "outputs.mean(-1)",
                      "unknown score of task Mine.* 'los': did you mean loss"),
    "one score for all": ("task", TASK + "outputs.mean(-1)\n    def scores(self, outputs, targets):"
                          " return {'a': outputs.mean()}", r"score a has the shape \(\)"),
}


def refused(capsys, *words: str) -> str:
    """What a command line that can't be meant says."""
    assert launch.main([*words]) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("flaxmill: ")]
    assert len(told) == 1
    return told[0]


@pytest.mark.parametrize("case", WRONG)
def test_a_file_that_is_refused(case, here, capsys):
    kind, text, words = WRONG[case]
    (here / "mine.py").write_text(text)
    (here / "ok.py").write_text(LINEN.replace("Mine", "Net") + "nn.Dense(10)(x)")
    model = [] if kind == "model" else ["--model", "ok.py:Net"]
    said = refused(capsys, f"--{kind}", "mine.py:Mine", *model, "--dataset", "digits")
    assert re.search(words, said), said
    assert not (here / "runs").exists()


TRAINS = LINEN.replace("Mine", "Net") + """nn.Dense(10)(x)

from flaxmill import Config, Hyper, Place, fit, sweep
"""


@pytest.mark.parametrize("trains", [
    "fit(Config(dataset='digits', model=Net))",
    "try:\n    fit(Config(dataset='digits', model='train.py:Net'))\nfinally:\n    pass",
    "sweep(Config(dataset='digits', model=Net), seeds=2)",
    "from flaxmill import sklearn\nsklearn.Classifier(Net, epochs=1).fit([[0.], [1.]], [0, 1])"])
@pytest.mark.parametrize("words", [["--model", "train.py:Net"], ["--config", "train.py"]])
def test_a_file_that_trains_as_it_is_imported_is_refused(trains, words, here, capsys):
    """It trained first, and one that names itself without end."""
    (here / "train.py").write_text(TRAINS + trains)
    said = refused(capsys, "--dataset", "digits", *words)
    assert ("train.py trains as it is imported: put that under if __name__ == '__main__':"
            in said), said
    assert not (here / "runs").exists()
    (here / "train.py").write_text(f"{TRAINS}if __name__ == '__main__':\n    fit(Config())")
    assert bring.value("model", "train.py:Net") and not bring.importing.get()


def test_a_file_that_is_imported_in_one_thread_lets_another_train(here):
    (here / "slow.py").write_text("import there\nthere.now.set()\nthere.go_on.wait(20)\nNet = 1")
    there: Any = types.ModuleType("there")
    there.now, there.go_on = threading.Event(), threading.Event()
    sys.modules["there"] = there
    importing = threading.Thread(target=bring.value, args=("model", "slow.py:Net"))
    importing.start()
    try:
        assert there.now.wait(20)
        assert completed(Request()).hyper == Hyper()
    finally:
        there.go_on.set()
        importing.join()
        del sys.modules["there"]


@pytest.mark.parametrize("own", ["engine.py", "engine/__init__.py"])
def test_a_file_that_is_called_as_our_package_is_named(own, here):
    (here / own).parent.mkdir(exist_ok=True)
    (here / own).write_text("")
    (here / "mine.py").write_text("from flaxmill import fit")
    done = subprocess.run([sys.executable, "mine.py"], env=os.environ | {"PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True)
    where = str(here / own).removesuffix("/__init__.py")
    assert done.stderr.splitlines()[-1] == (f"ImportError: {where} is found before flaxmill's own "
                                            "engine: rename it, or start from another folder.")


@pytest.mark.parametrize("own", ["models.py", "models/__init__.py"])
def test_a_network_of_ours_is_never_anothers(own, here, monkeypatch):
    (here / own).parent.mkdir(exist_ok=True)
    (here / own).write_text("")
    (here / own).with_name("mlp.py").write_text("MLP = 3")
    monkeypatch.syspath_prepend(here)
    for name in [name for name in sys.modules if name.partition(".")[0] == "models"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(RequestError, match="mlp: .*models.* is found before flaxmill's own "):
        bring.value("model", "mlp")
    monkeypatch.undo()
    assert bring.value("model", "mlp").__name__ == "MLP"


def test_a_file_of_ours_without_a_class_of_its_name_is_told(monkeypatch):
    """It was a StopIteration."""
    monkeypatch.setitem(sys.modules, "models.token_mixer", types.ModuleType("models.token_mixer"))
    with pytest.raises(RequestError, match=r"^models/token_mixer.py has no class TokenMixer: call"):
        ours.found("models", "token_mixer")


def test_frames_of_ours_of_a_package_and_of_python_are_no_users():
    """An error is told by the last line of the user's own file that led to it."""
    for file in (bring.__file__, launch.__file__.replace("launch.py", "models/cnn.py"),
                 jax.__file__, re.__file__, "<string>"):
        assert not bring._is_a_users(file), file
    assert bring._is_a_users(__file__) and bring._is_a_users("/home/me/engine/net.py")


def test_a_files_digest_is_the_sha256_of_its_bytes(tmp_path):
    (tmp_path / "net.py").write_bytes(b"x = 1\n")
    config = Config(model=f"{tmp_path}/net.py:Net")
    found = bring.digests(config)
    assert found == {"model": hashlib.sha256(b"x = 1\n").hexdigest()}
    saved = record.Saved(tmp_path, Request(config), {"files": found})
    saved.same_files(config)
    (tmp_path / "net.py").write_bytes(b"x = 2\n")
    with pytest.raises(RequestError, match="net.py has changed since the run in .* began: put it"):
        saved.same_files(config)


@pytest.mark.parametrize("padding", [2**31 - 1, 32])
def test_a_crop_that_leaves_nothing(padding, here, capsys):
    said = refused(capsys, "--dataset", "digits", "--crop_padding", str(padding))
    assert "would leave nothing of 32 × 32: type less than 32" in said
    assert not (here / "runs").exists()


def test_no_such_file(here, capsys):
    assert "nope.py: no such file" in refused(capsys, "--model", "nope.py:Net", "--dataset",
                                              "digits")
    assert not (here / "runs").exists()


X, Y = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32), np.arange(40) % 4
HOLED = np.where(np.arange(40)[:, None] == 3, np.nan, X)


class Own(Task):
    """One of classes alone, which knows no shares of them."""

    kind = "classes"

    def loss(self, outputs, targets, hyper):
        return -jnp.take_along_axis(jax.nn.log_softmax(outputs), targets[:, None], 1)[:, 0]


def halved(key, inputs, targets):
    return inputs, jax.nn.one_hot(targets, 4)


class Twice(Classification):
    def scores(self, outputs, targets):
        return {"accuracy": outputs.argmax(-1) == targets}


class Mutable(nn.Module):
    """One with a set, which has no hash."""

    widths: set

    def __call__(self, x):
        return x


@pytest.mark.parametrize("words, config, data", [
    (r"inputs of shape \(40, 6\), but targets of \(39,\)", {}, (X, Y[:39])),
    ("inputs of 1 of its 40 examples are NaN .*at index 3", {}, (HOLED, Y)),
    ("targets of 1 of its 40 examples are NaN", {"task": "regression"},
     (X, np.where(Y == 9, 0, HOLED[:, 0]))),
    ("labels of 40 of its 40 examples are no whole numbers", {}, (X, Y - 9)),
    ("labels of .*are no whole numbers", {"task": "classification"}, (X, Y / 2)),
    (r"shape \(2, 3\) for 2 .*needs \(2, 4\)", {"model": Tiny(3)}, (X, Y)),
    ("model: this Mutable can't be hashed .*widths.*use tuples",
     {"model": Mutable({1})}, (X, Y)),
    ("optimizer int is a int", {"optimizer": 3}, (X, Y)),
    ("task Tiny is a Tiny", {"task": Tiny()}, (X, Y)),
    ("--flip is for pictures, .* and the inputs are 6: leave it out", {"flip": True}, (X, Y)),
    ("--crop_padding 1 is for pictures", {"crop_padding": 1}, (X, Y)),
    (r"task Own's loss: .* \(outputs, targets, hyper\), targets being mixed: float32 \[B, 4\]",
     {"task": Own(), "augment": halved}, (X, Y)),
    ("task Twice's score accuracy has the name of another column", {"task": Twice()}, (X, Y)),
])
def test_objects_that_are_refused(words, config, data, here):
    with pytest.raises(RequestError, match=words):
        fit(Config(**{"model": Tiny, "batch_size": 8} | config), data=data, quiet=True)
    assert not (here / "runs").exists()


def unclipped(hyper, durations):
    return optax.adagrad(hyper.learning_rate, initial_accumulator_value=hyper.b1)


class Norms(NamedTuple):
    rate: float = 0.1
    norm: float | None = None
    margin: float | None = None


def clipped(hyper: Norms, durations):
    return optax.chain(optax.clip_by_global_norm(hyper.norm), optax.sgd(hyper.rate))


class Margin(Own):
    def loss(self, outputs, targets, hyper):
        return super().loss(outputs + (hyper.margin if hyper else 0), targets, hyper)


NUMBERS, LABELS = X[:, :1], X[:, :4] > 0


@pytest.mark.parametrize("idle, config, hyper, y", [
    ("", {}, Hyper(label_smoothing=0.1, ema_decay=0.9), Y),
    ("label_smoothing", {"task": "regression", "model": Tiny(1)}, Hyper(label_smoothing=0.1),
     NUMBERS),
    ("label_smoothing", {"task": "multilabel"}, Hyper(label_smoothing=0.1), LABELS),
    ("label_smoothing", {"task": Own()}, Hyper(label_smoothing=0.1), Y),
    ("clip_norm", {"optimizer": unclipped}, Hyper(b1=0.1, ema_decay=0.9, clip_norm=1.0), Y),
    ("", {"optimizer": unclipped}, Hyper(b1=0.1, ema_decay=0.9, label_smoothing=0.1), Y),
    ("margin", {"optimizer": clipped}, Norms(norm=1.0, margin=1.0), Y),
    ("", {"optimizer": clipped, "task": Margin()}, Norms(norm=1.0, margin=1.0), Y),
])
def test_a_value_that_nothing_uses_is_refused_however_it_is_asked_for(idle, config, hyper, y, here):
    made = Config(**{"model": Tiny(4), "batch_size": 8, "epochs": 1} | config)
    data = data_for(made, (X, y))
    found = partial(jax.eval_shape, partial(train, made), hyper, jax.random.key(0), data)
    if not idle:
        found()
        return
    with pytest.raises(RequestError, match=f"--{idle} has no effect: neither the loss of task"):
        found()
    with pytest.raises(RequestError, match=f"--{idle} [0-9.]+ has no effect: neither"):
        fit(made, hyper, data=(X, y), quiet=True)
    assert not (here / "runs").exists()


def test_a_rate_that_an_optimizer_ignores_is_refused_in_a_run_and_as_an_axis(here, capsys):
    (here / "mine.py").write_text("import optax\ndef fixed(hyper, durations):\n"
                                  "    return optax.sgd(0.1)\n")
    words = "--optimizer", "mine.py:fixed", "--dataset", "iris", "--model", "linear"
    said = "has no effect: neither the loss of task classification nor optimizer fixed uses it"
    assert f"--learning_rate 0.5 {said}" in refused(capsys, *words, "--learning_rate", "0.5")
    assert f"--learning_rate {said}" in refused(
        capsys, "sweep", *words, "--sweep", "learning_rate=0.1,0.2")


def falling(hyper, durations):
    return optax.sgd(lambda step: hyper.learning_rate * 0.5**step)


@pytest.mark.slow
def test_the_rate_of_an_optimizer_with_a_schedule_of_its_own_is_not_told_as_its_peak(here):
    run = fit(Config(model=Tiny(4), optimizer=falling, batch_size=36, epochs=2), data=(X, Y),
              quiet=True)
    assert [row["learning_rate"] for row in run.history] == [None, None]
    assert (run.path / "report.html").exists()


@pytest.mark.slow
def test_a_run_of_before_that_named_such_a_value_is_gone_on_with_and_judged(here, monkeypatch):
    config, hyper = Config(model=Tiny(1), task="regression", batch_size=8, epochs=1), \
        Hyper(label_smoothing=0.1)
    with monkeypatch.context() as before:
        before.setattr(effect, "check", lambda *_: None)
        run = fit(config, hyper, data=(X, NUMBERS), quiet=True)
    again = fit(replace(config, epochs=2), hyper, data=(X, NUMBERS), resume=run.path, quiet=True)
    assert len(again.history) == 2
    assert evaluate(run.path, (X, NUMBERS), config=config)["mse"] == again.metrics["mse"]


STOP = [lambda row: row["epoch"] == 1 and "one is enough"]


class Rates(NamedTuple):
    rate: float = 0.1
    noise: float = 0.01


def noisy(hyper: Rates, durations: Durations):
    """Its state is a random key, which is saved as an array."""
    def update(gradient, key, params=None):
        key, now = jax.random.split(key)
        scale = hyper.rate + hyper.noise * jax.random.normal(now)
        return jax.tree.map(lambda g: -scale * g, gradient), key

    return optax.GradientTransformation(lambda params: jax.random.key(7), update)


@pytest.mark.slow
def test_a_run_of_objects_is_gone_on_with_in_python(here, capsys):
    config = Config(model=Tiny(4), optimizer=noisy, epochs=2, batch_size=8)
    whole = fit(config, Rates(0.2), data=(X, Y), quiet=True)
    half = fit(config, Rates(0.2), data=(X, Y), loggers=STOP, quiet=True)
    assert len(half.history) == 1
    again = fit(config, Rates(0.2), data=(X, Y), resume=half, quiet=True)
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(again.state), strict=True):
        np.testing.assert_array_equal(a, b)
    loaded = load(again.path, config)
    np.testing.assert_array_equal(loaded.predict(X), load(whole.path, config).predict(X))
    # Of both devices, whose products are of other shapes.
    np.testing.assert_allclose(loaded.predict(X), whole.predict(X), rtol=1e-5)
    assert evaluate(again.path, (X, Y), config=config)["loss"] == whole.metrics["loss"]
    with pytest.raises(RequestError, match=r"was an object in Python.*load\(path, config\)"):
        load(again.path)
    assert "were objects in Python" in refused(capsys, "--resume", str(again.path))


NNX_NET = """
import jax
from flax import nnx

class Net(nnx.Module):
    def __init__(self, num_outputs, rngs):
        self.hidden = nnx.Linear(6, 8, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.out = nnx.Linear(8, num_outputs, rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.hidden(x.reshape(x.shape[0], -1)))
        return self.out(self.dropout(jax.nn.relu(x)))
"""


PIXELS = np.uint8(200 + 20 * X).reshape(40, 3, 2, 1)
NNX = Config(model="net.py:Net", epochs=2, batch_size=10, validation_split="0.25")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two epochs of an NNX network at once, and one and one, in a folder with net.py."""
    folder = tmp_path_factory.mktemp("nnx")
    (folder / "net.py").write_text(NNX_NET)
    np.save(folder / "x.npy", PIXELS)
    with contextlib.chdir(folder):
        whole, half = (fit(NNX, data=(PIXELS, Y), loggers=some, quiet=True) for some in ([], STOP))
        assert len(half.history) == 1
        return folder, whole, fit(NNX, data=(PIXELS, Y), resume=half, quiet=True)


@pytest.fixture
def begun(two, monkeypatch):
    """The folder to be in, and the path of its second run."""
    folder, _, run = two
    monkeypatch.chdir(folder)
    yield folder, str(run.path)
    (folder / "net.py").write_text(NNX_NET)


@pytest.mark.slow
def test_two_epochs_of_nnx_are_one_and_one(two, begun):
    _, whole, again = two
    for a, b in zip(jax.tree.leaves(whole.state), jax.tree.leaves(again.state), strict=True):
        np.testing.assert_array_equal(a, b)
    assert jax.tree.leaves(whole.state.batch_stats)
    np.testing.assert_array_equal(load(again.path).predict(PIXELS), whole.predict(PIXELS))
    assert (again.path / "report.html").is_file()


@pytest.mark.slow
def test_nnx_under_vmap_is_each_run_alone(two, begun):
    data = jax.device_put(partition(arrays.of((PIXELS, Y)), NNX))
    keys = jax.vmap(jax.random.key)(np.arange(2))
    _, several = jax.jit(jax.vmap(train, (None, None, 0, None)))(NNX, Hyper(), keys, data)
    alone = [row["val_loss"] for row in two[1].history]  # of seed 0
    np.testing.assert_allclose(several["val_loss"][0], alone, rtol=1e-5)
    assert several["val_loss"][0, 0] != several["val_loss"][1, 0]


@pytest.mark.slow
def test_a_sweep_of_nnx_is_reported(begun, capsys):
    (begun[0] / "all.py").write_text(RECIPE)
    words = ["sweep", "--config", "all.py", "--sweep", "learning_rate=0.001,0.01"]
    assert launch.main([*words, "--run_dir", "swept", "--epochs", "1"]) == 0
    assert (begun[0] / "swept/report.html").is_file()
    assert len((begun[0] / "swept/results.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
def test_a_file_that_changed_is_refused_wherever_the_run_is_asked_for(begun, capsys):
    folder, path = begun
    Image.fromarray(PIXELS[0, :, :, 0]).save("a.png")
    assert launch.main(["predict", "--run_dir", path, "a.png"]) == 0
    assert "a.png" in capsys.readouterr().out
    (folder / "net.py").write_text(f"{NNX_NET}\n")
    (folder / "all.py").write_text(RECIPE)
    said = [refused(capsys, "eval", "--run_dir", path),
            refused(capsys, "predict", "--run_dir", path, "a.png"),
            refused(capsys, "--resume", path, "--config", "all.py")]
    for ask in (lambda: load(path), lambda: evaluate(path, (PIXELS, Y)),
                lambda: fit(NNX, data=(PIXELS, Y), resume=path, quiet=True)):
        with pytest.raises(RequestError) as error:
            ask()
        said.append(str(error.value))
    assert all("net.py has changed since the run in" in words for words in said), said
    (folder / "net.py").unlink()
    assert "net.py: no such file" in refused(capsys, "eval", "--run_dir", path)


RECIPE = """
import numpy as np
from engine import Config
config = Config(model="net.py:Net", epochs=2, batch_size=10, validation_split="0.25")
data = np.load("x.npy"), np.arange(40) % 4
"""


@pytest.mark.slow
def test_data_that_were_objects_are_given_again(two, begun, capsys):
    folder, path = begun
    for words in (["--resume"], ["eval", "--run_dir"]):
        said = refused(capsys, *words, path)
        assert "its data were objects in Python" in said and "resume=path" in said
    (folder / "all.py").write_text(RECIPE)
    assert launch.main(["eval", "--json", "--run_dir", path, "--config", "all.py"]) == 0
    assert json.loads(capsys.readouterr().out)["loss"] == two[1].metrics["loss"]
