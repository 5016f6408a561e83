"""Networks that take whole numbers alone are handed these, and lose nothing by it."""

import dataclasses
import gc
import re
import weakref
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import carried_out
from conftest import QUICK
from flax import nnx
from samples import Tiny

from engine.command import summary
from engine.config import Config, Hyper
from engine.doors import handed
from engine.errors import RequestError
from engine.evaluation import evaluate
from engine.export import program
from engine.job.host import begin
from engine.learners.chosen import learner_of
from engine.place import Place
from engine.pure import data_for, train
from engine.request import Request
from engine.run import fit

quickly = partial(jax.jit, static_argnums=0, compiler_options=QUICK)
RNG = np.random.default_rng(0)
MOST, LENGTH = 1000, 6
X = RNG.integers(0, MOST, (40, LENGTH))
Y = (X[:, 0] > MOST // 2).astype(int)
PLACE = Place(device="cpu", report=False)


class Words(nn.Module):
    cast: bool = False

    @nn.compact
    def __call__(self, x):
        x = x.astype(jnp.int32) if self.cast else x
        kept = (x != 0).astype(jnp.float32)[..., None]
        return nn.Dense(2)((nn.Embed(MOST, 8)(x) * kept).mean(1))


class WordsNNX(nnx.Module):
    def __init__(self, *, rngs):
        self.words, self.head = nnx.Embed(MOST, 8, rngs=rngs), nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(self.words(x).mean(1))


class Table:
    """No module: two functions, of which the first doesn't look at its inputs."""

    def init(self, key, inputs):
        return {"table": jax.random.normal(key, (MOST, 2))}

    def apply(self, params, inputs):
        return params["table"][inputs].mean(1)


def config(model, **more) -> Config:
    return Config(model=model, epochs=2, batch_size=16, **more)


def trained(given: Config) -> list[np.ndarray]:
    made = data_for(given, (X, Y))
    state, history = quickly(train)(given, Hyper(learning_rate=0.05), jax.random.key(0), made)
    assert history["loss"][1] < history["loss"][0]
    return jax.tree.leaves(state.params)


def test_it_learns_the_bits_of_one_that_makes_whole_numbers_of_floats():
    for one, two in zip(trained(config(Words())), trained(config(Words(cast=True))), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("model", [WordsNNX, Table()])
def test_every_kind_of_network_is_asked(model):
    trained(config(model))


@pytest.mark.parametrize(("model", "shape", "taken"), [
    (Words(), (LENGTH,), True), (Words(cast=True), (LENGTH,), False), (WordsNNX, (LENGTH,), True),
    (Table(), (LENGTH,), True), (Tiny, (LENGTH,), False), ("mlp", (LENGTH,), False)])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_whether_it_takes_floats_is_found_by_tracing(model, shape, taken, precision):
    network = learner_of(Config(model=model, precision=precision), 2).network
    assert handed.embeds(network, shape) is taken


def test_bf16_has_every_code(tmp_path):
    """Which it would round as inputs: of a network that casts its own it refuses them."""
    runs = [fit(config(Words(), precision=precision), Hyper(learning_rate=0.05),
                dataclasses.replace(PLACE, run_dir=str(tmp_path / precision)), data=(X, Y))
            for precision in ("float32", "bf16")]
    apart = [np.abs(runs[0].predict(x) - runs[1].predict(x)).max() for x in (X, (X + 1) % MOST)]
    assert max(apart) < 0.02
    assert np.abs(runs[0].predict(X) - runs[0].predict((X + 1) % MOST)).max() > 0.05
    with pytest.raises(RequestError, match=r"up to 99.: .* nn.Embed take them as they come"):
        fit(config(Words(cast=True), precision="bf16"), place=PLACE, data=(X, Y))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = dataclasses.replace(PLACE, run_dir=str(tmp_path_factory.mktemp("codes") / "run"))
    return fit(config(Words()), Hyper(learning_rate=0.05), place, data=(X, Y))


def test_fractions_are_refused_wherever_they_come_in(run, tmp_path):
    half, words = X + 0.5, "model Words takes whole numbers, and {} of the inputs' have fractions"
    place = dataclasses.replace(PLACE, run_dir=str(tmp_path / "none"))
    for call, count in (
            (lambda: fit(config(Words()), place=place, data=(half, Y)), 240),
            (lambda: fit(config(Words()), place=place, data={
                "train": (X, Y), "validation": (half[:2], Y[:2])}), 12),
            (lambda: evaluate(run, {"test": (half, Y)}, config=config(Words())), 240),
            (lambda: run.predict(half[:1]), 6)):
        with pytest.raises(RequestError, match=re.escape(words.format(count))):
            call()
    assert not (tmp_path / "none").exists()
    with pytest.raises(RequestError, match="--mixup 0.2 makes other numbers of inputs, and model"):
        fit(config(Words()), Hyper(mixup=0.2), place, data=(X, Y))


def test_it_is_told(run, capsys, tmp_path):
    fit(config(Words()), place=dataclasses.replace(PLACE, run_dir=str(tmp_path / "run")),
        data=(X, Y))
    assert "inputs: handed to Words as whole numbers, int32" in capsys.readouterr().out


def test_an_export_takes_what_predict_takes(run):
    predicted, shape = program.of(run)
    assert shape.dtype == np.float32
    probed = program.probe(run)
    np.testing.assert_array_equal(probed, np.floor(probed))
    for inputs in (probed, X.astype("f4")):
        np.testing.assert_allclose(predicted(inputs), run.predict(inputs), rtol=1e-5)


def test_a_summary_has_its_layers():
    host = begin(Place(device="cpu"), quiet=True)
    told = summary.summary(Request(config(Words()), Hyper(), data=(X, Y)), host)
    assert re.search(r"Embed_0 +6 × 8 +8,000 ", told)


@pytest.mark.slow
def test_a_network_goes_with_its_arrays_where_jax_forgets_it():
    given = config(WordsNNX(rngs=nnx.Rngs(0)), task="classification")
    learner = learner_of(given, 2).settled(Hyper(), data_for(given, (X, Y)), "cpu", print)
    learner.shapes(Hyper(), X.shape[1:])
    held = weakref.ref(given.model)
    del given, learner
    jax.clear_caches()
    gc.collect()
    assert held() is None


class Broken(nn.Module):
    """Wrong whatever it is handed; with `embeds` at a place where codes alone come to."""

    embeds: bool = False

    @nn.compact
    def __call__(self, x):
        h = nn.Embed(MOST, 8)(x) if self.embeds else nn.Dense(8)(x)
        return out_of(h)


def out_of(h):
    raise KeyError("a slip")


@pytest.mark.parametrize("embeds", [False, True])
def test_another_fault_is_told_as_it_is_and_forgotten_once_it_is_mended(embeds, monkeypatch):
    """And not that the network takes no floats."""
    given = config(Broken(embeds))
    with jax.numpy_dtype_promotion("standard"), \
            pytest.raises(RequestError, match="model Broken .*KeyError: 'a slip'"):
        fit(given, place=PLACE, data=(X, Y))
    monkeypatch.setitem(globals(), "out_of", lambda h: nn.Dense(2)(h.reshape(len(h), -1)))
    if embeds:
        trained(given)


@pytest.mark.parametrize("stream", [False, True])
def test_bytes_and_late_fractions_are_refused(stream, tmp_path):
    """Of a stream too, whose first examples are whole."""
    place = dataclasses.replace(PLACE, stream=stream, workers=0, run_dir=str(tmp_path / "run"))
    with pytest.raises(RequestError, match="inputs of uint8 become 0 to 1, .* give codes as int32"):
        fit(config(Words()), place=place, data=(X.astype("u1"), Y))
    many = [(X[at % 40] + (0.5 if at == 290 else 0.0), Y[at % 40]) for at in range(300)]
    with pytest.raises(RequestError, match="have fractions"):
        fit(config(Words()), place=place, data=many)


def shifted(key, inputs):
    return inputs.astype(jnp.float32) + 0.5


def masked(key, inputs):
    assert inputs.dtype == jnp.int32
    return jnp.where(jax.random.bernoulli(key, 0.1, inputs.shape), 0, inputs)


def test_an_augmentation_gets_whole_numbers_and_gives_these(tmp_path):
    place = dataclasses.replace(PLACE, run_dir=str(tmp_path / "run"))
    fit(config(Words(), augment=masked), place=place, data=(X, Y))
    with pytest.raises(RequestError, match="gives float32 for whole numbers, int32"):
        fit(config(Words(), augment=shifted), place=PLACE, data=(X, Y))


def test_codes_that_are_not_embedded_are_told(run, capsys):
    assert np.isnan(run.predict(X[:2] + 10 * MOST)).all()
    assert "2 of 2 predictions are no numbers: are the inputs" in capsys.readouterr().err


@pytest.mark.slow
def test_the_text_of_the_docs_is_learned(here):
    names = carried_out("docs/own.md", "def tokens")
    run, tokens = names["run"], names["tokens"]
    assert tokens(["a b " * 20, ""]).tolist() == [tokens(["a b"])[0, :2].tolist() * 8, [0] * 16]
    assert run.metrics["accuracy"] == 1
    assert run.predict(tokens(["such a good film", "what a bad one"])).argmax(1).tolist() == [1, 0]
