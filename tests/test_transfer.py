"""What a run begins with of another's: arrays by name, verified, told, and never read twice."""

import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK
from samples import Normed, random_split

from engine import fit, load, segments, train
from engine.command import flags
from engine.config import Config, Hyper
from engine.doors import bring, rounds
from engine.doors.checks import check
from engine.doors.functions import Begun
from engine.doors.names import place_of, renamed
from engine.doors.network import Linen
from engine.errors import RequestError
from engine.optim import trees
from engine.place import Place
from engine.request import Request
from engine.store import record
from engine.store.digests import digests
from engine.sweep import sweep
from engine.sweep.search import Search
from engine.sweep.space import axis
from engine.transfer.begun import matched, named
from engine.transfer.source import Source, source_of

pytestmark = pytest.mark.usefixtures("quickly")

OURS = {"Conv_0/kernel": np.ones((3, 3)), "Conv_0/bias": np.ones(3),
        "Dense_0/kernel": np.ones((3, 4)), "batch_stats/BatchNorm_0/mean": np.ones(3)}


def theirs(**arrays) -> Source:
    return Source("theirs", "digest", {}, {k.replace("__", "/"): v for k, v in arrays.items()})


def test_what_fits_by_name_and_shape_is_taken_and_every_other_is_named():
    source = theirs(Conv_0__kernel=np.zeros((3, 3)), Dense_0__kernel=np.zeros((3, 10)),
                    batch_stats__BatchNorm_0__mean=np.zeros(3), Dense_1__bias=np.zeros(2))
    found = matched(source, "", OURS)
    assert {*found.taken} == {"Conv_0/kernel", "batch_stats/BatchNorm_0/mean"}
    assert found.mismatched == {"Dense_0/kernel": ((3, 10), (3, 4))}
    assert (found.left, found.unused) == (["Conv_0/bias"], ["Dense_1/bias"])
    anew = matched(source, '[["^Conv_0/", "old/"]]', OURS)
    assert "Conv_0/kernel" in anew.left and "Conv_0/kernel" in anew.unused


@pytest.mark.parametrize("arrays", [{"Dense_9__kernel": np.zeros((3, 4))},
                                    {"Conv_0__kernel": np.zeros((5, 5))}])
def test_another_networks_checkpoint_is_refused(arrays):
    with pytest.raises(RequestError, match="none of its arrays .* is this network's by name"):
        matched(theirs(**arrays), "", OURS)


@pytest.mark.parametrize("words, want", [
    ("", ["conv1/weight", "bn/mean"]),
    ('{"conv1.weight": "Conv_0/kernel"}', ["Conv_0/kernel", "bn/mean"]),
    ('[["^conv1", "Conv_0"], ["weight$", "kernel"]]', ["Conv_0/kernel", "bn/mean"]),
    ('[["conv(.).*", "Conv_\\\\1/bias"]]', ["Conv_1/bias", "bn/mean"]),
])
def test_names_become_ours(words, want):
    assert [*renamed(words, ["conv1/weight", "bn/mean"], OURS).values()] == want


@pytest.mark.parametrize("words, said", [
    ('{"conv9": "Conv_0/bias"}', "'conv9': did you mean conv2 or conv1"),
    ('{"conv1": "Conv_0/bia"}', "'Conv_0/bia': did you mean Conv_0/bias"),
    ('[["zz", ""]]', "'zz' is in none of the names"), ('[["(", ""]]', "no regular expression"),
    ('[["conv.", "x"]]', "several arrays the name x"), ('["a"]', "neither an object of texts"),
    ('{"a": 1}', "neither an object of texts"), ("nothing.json", "no such file"),
    ("bad.json", "no JSON"),
])
def test_a_map_that_cant_be_meant_is_refused(here, words, said):
    (here / "bad.json").write_text("{")
    with pytest.raises(RequestError, match=said):
        config = bring.absolute(Config(init_from="a", init_map=words))
        renamed(config.init_map, ["conv1", "conv2"], OURS)


def test_the_content_of_a_map_stands_for_its_file(here):
    (here / "map.json").write_text('{"a":  "b"}')
    config = bring.absolute(Config(init_from="r", init_map="map.json"))
    assert config.init_map == Config(init_map={"a": "b"}).init_map
    assert config.init_from == str(here / "r") and config == Config()  # one program


def test_a_network_begins_with_what_was_taken_whatever_the_seed():
    inputs, key = jnp.ones((1, 4)), jax.random.key(0)
    fresh = jax.jit(Linen(Normed()).init, compiler_options=QUICK)(key, inputs)
    values = {"Dense_0/kernel": np.full((4, 16), 2.0), "batch_stats/BatchNorm_0/mean": np.ones(16)}
    network = Begun(Linen(Normed()), values, "one")
    got = named(jax.jit(network.init, compiler_options=QUICK)(key, inputs))
    for name, want in named(fresh).items():
        np.testing.assert_array_equal(got[name], values.get(name, want))
        assert got[name].dtype == want.dtype
    assert network == Begun(Linen(Normed()), {}, "one") != Begun(Linen(Normed()), values, "two")
    assert hash(network) == hash(Begun(Linen(Normed()), {}, "one"))


def test_a_safetensors_file_has_its_names_with_dots_or_slashes(here):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({"params.Conv_0.kernel": np.full((3, 3), 2, jnp.bfloat16),
                     "Conv_0/bias": np.arange(3, dtype="f4")}, "a.safetensors")
    source = source_of("a.safetensors")
    found = matched(source, "", OURS)
    assert {*found.taken} == {"Conv_0/kernel", "Conv_0/bias"} and len(source.digest) == 64
    Path("a.safetensors").write_bytes(Path("a.safetensors").read_bytes()[:-1])
    for path, said in (("a.safetensors", "no whole .safetensors"), ("b.safetensors", "no such")):
        with pytest.raises(RequestError, match=said):
            source_of(path)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float32])
def test_weights_that_are_no_numbers_are_refused_by_their_name(bad, dtype, here):
    numpy = pytest.importorskip("safetensors.numpy")
    numpy.save_file({"a": np.ones(3, int), "b.kernel": np.array([1, bad, 2], dtype)},
                    "a.safetensors")
    source, own = source_of("a.safetensors"), {"a": np.ones(3)}
    assert [*matched(source, "", own).taken] == ["a"]  # what isn't taken may be as it is
    with pytest.raises(RequestError, match="a.safetensors: 1 of the 3 numbers of b/kernel are NaN"):
        matched(source, "", own | {"b/kernel": np.ones(3)})


def test_an_npz_is_told_how_it_becomes_a_safetensors_file(here):
    numpy = pytest.importorskip("safetensors.numpy")
    np.savez("w.npz", a=np.ones(3, np.float32))
    with pytest.raises(RequestError, match="--init_from w.npz: a .npz is no .saf.*make") as refused:
        source_of("w.npz")
    *_, line = str(refused.value).rstrip(".").split("; ")
    exec(line, {"save_file": numpy.save_file, "numpy": np})
    assert [*source_of("w.safetensors").arrays] == ["a"]


def write_run(path: Path, config: Config, hyper: Hyper) -> None:
    path.mkdir()
    asked = record.to_json(Request(config, hyper, Place(run_dir=str(path))))
    (path / "config.json").write_text(json.dumps(asked))


def test_what_is_not_typed_is_as_in_the_run_that_it_begins_from(here):
    config = Config(dataset="iris", model="mlp", batch_size=8, train_split="train[:50%]",
                    optimizer="sgd")
    frozen = dataclasses.replace(config, freeze="Dense_0", init_from="b", init_map="[]")
    write_run(here / "a", frozen, Hyper(momentum=0.9, learning_rate=0.1))
    request = flags.parse(["--init_from", "a", "--epochs=3", "--run_dir=b"]).request
    assert request.config == dataclasses.replace(config, epochs=3)
    assert request.config.train_split == "train[:50%]" and request.place.run_dir == "b"
    assert request.hyper == Hyper(momentum=0.9, learning_rate=0.1)
    assert (request.config.init_from, request.config.init_map) == (str(here / "a"), "")
    other = flags.parse(["--init_from=a", "--dataset=wine"]).request
    assert (other.config.model, other.config.train_split) == ("mlp", "train")
    assert other.place.run_dir == ""
    (here / "a/checkpoints/12").mkdir(parents=True)
    assert place_of("a/checkpoints/12") == (Path("a"), 12)
    with pytest.raises(RequestError, match="no run's folder and no .safetensors file"):
        flags.parse(["--init_from", "zzz"])


def test_a_resume_with_other_flags_names_the_way(here):
    write_run(here / "a", Config(), Hyper())
    asked = Request(Config(nesterov=True), Hyper(learning_rate=1e-4))
    with pytest.raises(RequestError, match="--init_from a --nesterov --learning_rate 0.0001"):
        record.compare(Path("a"), asked, {})
    with pytest.raises(RequestError, match=r"learned: --init_from a --nesterov\.$"):
        record.compare(Path("a"), Request(Config(nesterov=True, init_from="b"), Hyper()), {})
    with pytest.raises(RequestError, match=r"learned: --init_from a\.$"):
        record.compare(Path("a"), Request(Config(init_from="a"), Hyper()), {})


@pytest.mark.parametrize("there, told", [((), "none"), ((10, 15), "10, 15")])
def test_a_step_that_is_not_there_tells_those_that_are(here, there, told):
    write_run(here / "a", Config(), Hyper())
    (here / "a/checkpoints").mkdir()
    for step in there:
        (here / f"a/checkpoints/{step}/state").mkdir(parents=True)
        (here / f"a/checkpoints/{step}/_CHECKPOINT_METADATA").touch()
    with pytest.raises(RequestError, match=f"checkpoints has no step 9: it has {told}\\."):
        source_of("a/checkpoints/9")


@pytest.mark.parametrize("refused, said", [
    (lambda: check(Config(init_map="{}"), Hyper()), "--init_map has no effect without"),
    (lambda: axis("init_from=a,b"), "start a sweep for each"),
    (lambda: train(Config(init_from="a"), Hyper(), None, None), "NNX module"),
])
def test_what_nothing_would_use_is_refused(refused, said):
    with pytest.raises(RequestError, match=said):
        refused()


def test_trees_begin_with_nothing():
    said = rounds.wrong(Config(init_from="a", model="xgboost"), trees.XGBoost())
    assert next(said).startswith("--init_from has no effect with --model xgboost")


STILL = Hyper(learning_rate=0.0)  # of sgd: a run ends as it began
PLACE = partial(Place, device="cpu")


def trained(path: str, classes: int = 4, hyper=STILL, resume: str = "", **more):
    """A run of few updates, in the folder `path`."""
    config = Config(**{"model": Normed, "epochs": 1, "batch_size": 16, "optimizer": "sgd",
                       "validation_split": "0.2"} | more)
    return fit(config, hyper, PLACE(run_dir=path), tuple(random_split(40, classes)),
               resume=resume, quiet=True)


def equal(a, b) -> list[str]:
    """The names of arrays that are the same bits in both."""
    a, b = named(a), named(b)
    return [name for name in a if np.array_equal(a[name], b[name])]


@pytest.mark.slow
def test_a_run_begins_with_anothers_arrays_and_only_they_are_taken(here):
    first = trained("a", hyper=Hyper(learning_rate=0.1), epochs=2)
    begun = trained("b", init_from="a", seed=1)
    assert "batch_stats/BatchNorm_0/mean" in named(begun.state.variables)
    same = equal(first.state.variables, begun.state.variables)
    assert {*same} == {name for name in named(first.state.variables) if "batch_stats" not in name}
    other = trained("c", classes=3, init_from="a", seed=1)
    fresh = trained("d", classes=3, seed=1)
    left = {"Dense_1/kernel", "Dense_1/bias"}
    assert {*equal(other.state.variables, fresh.state.variables)} >= left
    assert "Dense_0/kernel" not in equal(other.state.variables, fresh.state.variables)
    kept = json.loads((here / "c/config.json").read_text())["init"]
    assert {*kept["mismatched"]} == left and kept["mismatched"]["Dense_1/bias"] == [[4], [3]]
    assert not kept["left"] and not kept["unused"] and "Dense_0/kernel" in kept["taken"]
    with pytest.raises(RequestError, match="none of its arrays"):
        trained("e", init_from="a", model=Flat)
    assert not (here / "e").exists()


class Flat(nn.Module):
    """With none of Normed's names."""

    num_classes: int = 4

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes, name="only")(x.reshape(len(x), -1))


@pytest.mark.slow
def test_averaged_weights_are_what_is_taken(here):
    first = trained("a", hyper=Hyper(learning_rate=0.1, ema_decay=0.9), epochs=2)
    begun = trained("b", init_from="a")
    assert "Dense_0/kernel" in equal(first.state.model, begun.state.variables)
    assert "Dense_0/kernel" not in equal(first.state.variables, begun.state.variables)


@pytest.mark.slow
def test_a_run_that_began_from_another_goes_on_without_it(here):
    trained("a", hyper=Hyper(learning_rate=0.1), epochs=2)
    hyper = Hyper(learning_rate=0.1)
    whole = trained("b", hyper=hyper, init_from="a", epochs=2)
    trained("c", hyper=hyper, init_from="a")
    began = json.loads((here / "c/config.json").read_text())["init"]
    shutil.move("a", "gone")
    again = trained("c", hyper=hyper, init_from="a", epochs=2, resume="c")
    assert digests(again.state) == digests(whole.state)
    assert json.loads((here / "c/config.json").read_text())["init"] == began
    shutil.rmtree("c/checkpoints")  # as of one that was killed before its first
    (here / "c/history.jsonl").unlink()
    shutil.move("gone", "a")
    again = trained("c", hyper=hyper, init_from="a", epochs=2, resume="c")
    assert digests(again.state) == digests(whole.state)
    shutil.rmtree("c/checkpoints")
    shutil.rmtree("a")
    trained("a", hyper=hyper, epochs=1)
    with pytest.raises(RequestError, match="has changed since the run in c began from it"):
        trained("c", hyper=hyper, init_from="a", epochs=2, resume="c")


@pytest.mark.slow
def test_a_damaged_checkpoint_is_no_beginning(here, capsys, monkeypatch):
    monkeypatch.setattr(segments, "APART", 0.0)
    trained("a", hyper=Hyper(learning_rate=0.1), epochs=3)
    config = Config(model=Normed, optimizer="sgd")
    best = load("a", config).state.step
    step = here / f"a/checkpoints/{best}"
    file = max((p for p in (step / "state").rglob("*") if p.is_file()),
               key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(RequestError, match="no whole checkpoint"):
        trained("b", init_from=str(step))
    trained("b", init_from="a")
    assert f"{best} is damaged" in capsys.readouterr().err and step.exists()
    kept = json.loads((here / "b/config.json").read_text())["init"]["from"]
    assert f"step {best}," not in kept


@pytest.mark.slow
def test_a_sweep_begins_every_run_from_another(here):
    first = trained("a", hyper=Hyper(learning_rate=0.1))
    config = Config(model=Normed, init_from=str(here / "a"), epochs=1, batch_size=16,
                    optimizer="sgd", validation_split="0.2")
    path = sweep.run(Request(config, STILL, PLACE(run_dir="s"), tuple(random_split(40))),
                     Search(axes=("learning_rate=0,0.1",), seeds=2)).path
    for number, same in enumerate((True, True, False, False)):
        state = load(path / str(number), config, "last").state
        assert ("Dense_0/kernel" in equal(state.variables, first.state.variables)) == same


@pytest.mark.slow
def test_a_warm_start_with_other_flags_is_a_run_of_its_own(launch, tmp_path):
    words = "--dataset", "iris", "--device", "cpu"
    assert launch(*words, "--model", "mlp", "--epochs", "1", "--run_dir", "a").returncode == 0
    done = launch("--resume", "a", "--learning_rate", "1e-4")
    assert done.returncode == 2 and "--init_from a --learning_rate 0.0001." in done.stderr
    done = launch("--init_from", "a", "--learning_rate", "1e-4")
    assert done.returncode == 0 and "6 of 6 arrays taken" in done.stdout
    saved = json.loads((tmp_path / "runs/iris-mlp-1/config.json").read_text())
    assert saved["config"]["epochs"] == 1 and saved["hyper"]["learning_rate"] == 1e-4
    done = launch("--init_from", "a", "--model", "linear", "--run_dir", "b")
    assert done.returncode == 2 and "none of its arrays" in done.stderr
    assert not (tmp_path / "b").exists()
