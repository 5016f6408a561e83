import dataclasses
import itertools
import math

import pytest

import launch as program
from engine.config import Config, Hyper
from engine.doors.checks import check
from engine.errors import RequestError
from engine.hyper import AT_MOST, BELOW_ONE
from engine.optim.optimizers import users
from engine.optim.trees import RandomForest
from engine.place import Place
from engine.request import Request
from engine.sweep import space, sweep
from engine.sweep.search import Search
from engine.sweep.selection import perturbed, rungs
from engine.sweep.space import axis

LOG, LIN = "learning_rate=log:1e-4:1e-1", "weight_decay=lin:1:3"


def found(*axes: str, config: Config | None = None, **search) -> list[space.Trial]:
    request = Request(config or Config(), Hyper(clip_norm=1.0))
    return space.of(request, Search(axes, **search)).trials


@pytest.mark.parametrize("text, values", [
    ("learning_rate=log:1e-4:1e-1:4", (0.0001, 0.001, 0.01, 0.1)),
    ("learning_rate=log:1e-3:1e-1:3", (0.001, 0.01, 0.1)),
    ("weight_decay=lin:0:1:5", (0.0, 0.25, 0.5, 0.75, 1.0)),
    ("warmup_epochs=lin:0:3:4", (0.0, 1.0, 2.0, 3.0)),
    ("learning_rate=lin:0:1:4", (0.0, 0.333333, 0.666667, 1.0)),
    ("learning_rate=0.3,1e-3,0.1", (0.3, 0.001, 0.1)),
    ("learning_rate=1e-3,0.1,0.001,0.100", (0.001, 0.1)),
    ("momentum=0", (0.0,)),
    ("batch_size=64,32, 128,", (64, 32, 128)),
    ("nesterov=true,False", (True, False)),
    ("optimizer=sgd, adam,sgd", ("sgd", "adam")),
    ("schedule=linear,cosine", ("linear", "cosine")),
])
def test_an_axis_is_its_values_once_each_in_the_order_typed(text, values):
    made = axis(text)
    assert made.name == text.split("=")[0] and made.values == values
    assert [type(v) for v in made.values] == [type(v) for v in values]
    assert made.traced == (made.name in Hyper._fields)


def test_a_range_without_a_count_is_a_span_to_draw_from():
    made = axis(LOG)
    assert made.values == () and made.span == (1e-4, 1e-1, True)
    assert [made.at(share) for share in (0, 1 / 3, 2 / 3)] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert [axis(LIN).at(share) for share in (0, 0.25, 0.5)] == pytest.approx([1.0, 1.5, 2.0])
    assert [axis("epochs=7,3,5").at(share) for share in (0, 0.4, 0.99)] == [7, 3, 5]


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda f: f.name)
def test_every_field_is_swept_or_refused_with_a_reason(field):
    if field.name in space.UNSWEPT:
        with pytest.raises(RequestError, match=f"--sweep {field.name}: (type|start) "):
            axis(f"{field.name}={field.default}")
    else:
        text = field.default if field.default != "" else "word"
        assert axis(f"{field.name}={text}").values == (text,)


@pytest.mark.parametrize("field", dataclasses.fields(Place), ids=lambda f: f.name)
def test_where_a_run_happens_is_never_swept(field):
    with pytest.raises(RequestError, match="unknown field to sweep"):
        axis(f"{field.name}={field.default}")


@pytest.mark.parametrize("name", Hyper._fields)
def test_every_traced_value_is_swept(name):
    assert axis(f"{name}=0.5,0.25").values == (0.5, 0.25)


RANGE = "learning_rate=log:1e-4:1e-1:4"


@pytest.mark.parametrize("words, said", [
    (["--sweep", "learning_rat=0.1"], "field to sweep 'learning_rat': did you mean learning_rate"),
    (["--sweep", "optimiser=sgd"], "did you mean optimizer"),
    (["--sweep", "qqqq=1"], "choose from augment, average_from, b1, b2, batch_size"),
    (["--sweep", "=1"], "unknown field to sweep ''"),
    (["--sweep", "run_dir=here"], "unknown field to sweep 'run_dir'"),
    (["--sweep", "seed=1,2"], "--sweep seed: type --seeds 16 instead."),
    (["--sweep", "validation_split=1/5,2/5"], "--sweep validation_split: type --folds 5 instead."),
    (["--sweep", "order_seed=1"], "--sweep order_seed: type --same_data_order instead."),
    (["--sweep", "dataset=digits,cifar10"], "--sweep dataset: start a sweep for each"),
    (["--sweep", "learning_rate"], "learning_rate: it has no values; type learning_rate=A,B,C."),
    (["--sweep", "learning_rate="], "it has no values; type learning_rate=A,B,C."),
    (["--sweep", "learning_rate=,,"], "it has no values; type learning_rate=A,B,C."),
    (["--sweep", "learning_rate=0.1,fast"], "--sweep learning_rate: 'fast' is not a number."),
    (["--sweep", "epochs=1.5"], "--sweep epochs: '1.5' is not a whole number."),
    (["--sweep", "nesterov=1"], "--sweep nesterov: '1' is not true or false."),
    (["--sweep", "learning_rate=log"], "type log:LOW:HIGH:COUNT, such as log:1e-4:1e-1:16"),
    (["--sweep", "learning_rate=lin:1"], "type lin:LOW:HIGH:COUNT"),
    (["--sweep", "learning_rate=log:1e-4:big:4"], "type log:LOW:HIGH:COUNT"),
    (["--sweep", "learning_rate=log:1e-4:1e-1:4.5"], "type log:LOW:HIGH:COUNT"),
    (["--sweep", "learning_rate=log:1e-4:1e-1:4:5"], "with LOW below HIGH"),
    (["--sweep", "learning_rate=log:0.1:0.1:4"], "LOW below HIGH, above 0 and a COUNT of 2 to"),
    (["--sweep", "learning_rate=log:0.1:0.01:4"], "with LOW below HIGH, above 0"),
    (["--sweep", "learning_rate=log:0:1:4"], "with LOW below HIGH, above 0"),
    (["--sweep", "learning_rate=lin:2:1:4"], "with LOW below HIGH and a COUNT of 2 to"),
    (["--sweep", "learning_rate=lin:nan:1:4"], "with LOW below HIGH"),
    (["--sweep", "learning_rate=lin:0:1:1"], "a COUNT of 2 to"),
    (["--sweep", "learning_rate=lin:0:1:-3"], "a COUNT of 2 to"),
    (["--sweep", "batch_size=lin:16:64:4"], "only for numbers with a fraction: list batch_size's"),
    (["--sweep", LOG], "--sweep learning_rate: a range needs a COUNT, or type --samples 16."),
    (["--sweep", "momentum=0.9", "--sweep", "momentum=0.8"], "--sweep momentum is given twice"),
    (["--sweep", "learning_rate=lin:0:1:100001"], "a COUNT of 2 to 100,000."),
    (["--sweep", RANGE, "--seeds", "1000000"], "000,000 runs: type fewer values"),
    (["--seeds", "0"], "--seeds 0: type 1 or more."),
    (["--samples", "-1"], "--samples -1: type 1 or more."),
    (["--folds", "-2"], "--folds -2: type 2 or more."),
    (["--folds", "1"], "--folds 1: type 2 or more."),
    (["--halving", "-2"], "--halving -2: type 2 or more."),
    (["--halving", "1"], "--halving 1: type 2 or more."),
    (["--samples", "8"], "--samples needs a --sweep to draw from."),
    (["--sweep", RANGE, "--halving", "2", "--pbt"], "type one of the two"),
    (["--sweep", RANGE, "--sweep", "epochs=1,2", "--halving", "2"],
     "--halving compares runs in one compiled program, and epochs is static: sweep learning_rate,"),
    (["--sweep", "optimizer=sgd,adam", "--pbt"],
     "--pbt compares runs in one compiled program, and optimizer is static"),
    (["--pbt", "--seeds", "4"], "--pbt moves the swept values: type a --sweep"),
    (["--sweep", "b1=0.9", "--pbt"], "--pbt needs 2 runs or more"),
    (["--seeds", "2", "--halving", "3"], "--halving 3 needs as many settings or more, and has 1"),
    (["--folds", "3", "--validation_split", "validation"], "leave out --validation_split valid"),
    (["--sweep", "b1=0.9,1.5"], "--b1 1.5: type a number below 1."),
    (["--sweep", "momentum=0.8,0.9"], "--momentum 0.8 has no effect with --optimizer adam: sgd"),
    (["--sweep", "optimizer=sgd,adam", "--momentum", "0.9"], "--momentum 0.9 has no effect"),
    (["--sweep", "learning_rate=0.1,-0.1"], "--learning_rate -0.1: type a finite number"),
    (["--sweep", "learning_rate=nan"], "--learning_rate nan"),
    (["--sweep", "learning_rate=log:1:inf:3"], "--learning_rate inf"),
    (["--sweep", "epochs=2,0"], "--epochs 0: type 1 or more."),
    (["--sweep", "optimizer=sgd,adamm"], "did you mean adam"),
    (["--sweep", "batch_size=30,32", "--microbatch", "15"],
     "--microbatch 15 does not divide --batch_size 32."),
])
def test_a_sweep_that_cannot_be_is_one_clear_line_and_status_2(words, said, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "begin_alone", lambda *_: pytest.fail("it went on to the device"))
    assert program.main(["sweep", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("flaxmill: ") and error.count("\n") == 1


def test_no_axes_are_one_run_as_asked_for():
    config = Config(seed=4, epochs=3)
    assert found(config=config) == [space.Trial(0, config, Hyper(clip_norm=1.0), {})]


def test_a_forest_is_one_round_of_all_its_trees_in_a_sweep_too():
    request = Request(Config(model="random_forest", epochs=10), RandomForest())
    assert [t.config.epochs for t in space.of(request, Search(seeds=2)).trials] == [1, 1]
    with pytest.raises(RequestError, match="--epochs 2: a random forest is one round"):
        space.of(request, Search(("epochs=2,3",)))


def test_a_config_is_made_once_for_all_traced_values(monkeypatch):
    made, absolute = [], space.bring.absolute
    monkeypatch.setattr(space.bring, "absolute", lambda one: made.append(one) or absolute(one))
    runs = found("optimizer=sgd,adam", "learning_rate=log:1e-3:1e-1:50", folds=2, seeds=2)
    assert (len(runs), len(made)) == (400, 8)
    assert len({id(run.config) for run in runs}) == 8


def test_settings_are_outermost_then_folds_then_seeds():
    made = found("optimizer=sgd,adam", "learning_rate=0.2,0.1", folds=2, seeds=3,
                 config=Config(seed=5, epochs=7))
    assert [t.number for t in made] == list(range(24))
    assert [(t.config.optimizer, t.hyper.learning_rate, t.fold, t.config.seed) for t in made] == [
        *itertools.product(("sgd", "adam"), (0.2, 0.1), ("1/2", "2/2"), (5, 6, 7))
    ]
    assert made[7].values == {"optimizer": "sgd", "learning_rate": 0.1}
    for t in made:
        kept = dataclasses.replace(t.config, optimizer="adam", seed=5, validation_split="test")
        assert kept == Config(seed=5, epochs=7)
        assert t.hyper == Hyper(learning_rate=t.values["learning_rate"], clip_norm=1.0)


def test_the_same_data_order_is_the_first_seeds():
    assert [t.config.order_seed for t in found(seeds=3, config=Config(seed=5))] == [-1] * 3
    shared = found("epochs=1,2", seeds=3, folds=2, same_data_order=True, config=Config(seed=5))
    assert [t.config.order_seed for t in shared] == [5] * 12
    assert [t.config.seed for t in shared] == [5, 6, 7] * 4


def drawn(seed: int, count: int, *axes: str) -> list[tuple]:
    made = found(*axes, samples=count, config=Config(seed=seed))
    return [tuple(t.values.values()) for t in made]


def test_samples_are_as_many_as_asked_for_with_every_fold_and_seed():
    made = found(LOG, "optimizer=sgd,adam", samples=5, seeds=2, folds=3)
    assert [t.number for t in made] == list(range(30))
    settings = [tuple(t.values.values()) for t in made]
    assert settings[::6] == drawn(0, 5, LOG, "optimizer=sgd,adam")
    assert all(settings[i] == settings[i - i % 6] for i in range(30))
    assert {t.config.optimizer for t in made} == {"sgd", "adam"}
    assert [(t.hyper.learning_rate, t.config.optimizer) for t in made] == settings


def test_samples_follow_the_seed_and_nothing_else():
    assert drawn(3, 16, LOG, LIN) == drawn(3, 16, LOG, LIN)
    assert len({tuple(drawn(seed, 16, LOG, LIN)) for seed in range(5)}) == 5
    assert len(set(drawn(0, 16, LOG, LIN))) == 16


@pytest.mark.parametrize("seed", range(6))
def test_sixteen_samples_reach_every_quarter_of_every_range(seed):
    rates, decays = zip(*drawn(seed, 16, LOG, LIN), strict=True)
    assert all(1e-4 <= rate <= 1e-1 for rate in rates) and all(1 <= d <= 3 for d in decays)
    assert {int(4 * math.log10(rate / 1e-4) / 3) for rate in rates} == {0, 1, 2, 3}
    assert {int(4 * (decay - 1) / 2) for decay in decays} == {0, 1, 2, 3}
    assert all(type(x) is float and x == float(f"{x:.6g}") for x in (*rates, *decays))


def test_a_count_is_of_a_grid_and_samples_draw_between():
    rates = [rate for (rate,) in drawn(0, 9, RANGE)]
    assert len(rates) == 9 and not set(rates) & set(axis(RANGE).values)


@pytest.mark.parametrize("count, factor, epochs, want", [
    (27, 3, 9, {1: 9, 3: 3}),
    (9, 3, 9, {1: 3, 3: 1}),
    (16, 2, 10, {1: 8, 2: 4, 5: 2}),
    (5, 3, 9, {1: 2, 3: 1}),
    (2, 4, 8, {2: 1}),
    (125, 5, 625, {5: 25, 25: 5, 125: 1}),
    (9, 3, 2, {}),
    (1, 3, 9, {}),
])
def test_rungs_by_hand(count, factor, epochs, want):
    assert rungs(Search(halving=factor), count, epochs) == want


def test_rungs_are_later_and_smaller_one_by_one():
    for count, factor, epochs in itertools.product(range(1, 40), range(2, 6), range(1, 40)):
        cuts, runs = rungs(Search(halving=factor), count, epochs), count
        assert list(cuts) == sorted(cuts) and all(1 <= epoch < epochs for epoch in cuts)
        for kept in cuts.values():
            assert 1 <= kept < runs and kept == math.ceil(runs / factor)
            runs = kept
        needed = next(n for n in itertools.count() if factor**n >= count)
        assert (runs == 1) == (epochs >= factor**needed), "one is left where the epochs suffice"


def test_a_copied_value_moves_a_fifth_and_stays_sound():
    assert perturbed("learning_rate", 0.9, up=True) == pytest.approx(1.08)
    assert perturbed("learning_rate", 0.1, up=False) == pytest.approx(0.08)
    assert perturbed("momentum", 0.5, up=True) == pytest.approx(0.6)
    assert perturbed("momentum", 0.9, up=True) == 0.999
    assert perturbed("period_factor", 1.1, up=False) == 1
    needed = {"drop_factor": {"schedule": "step", "period": 3}, "focal_gamma": {"loss": "focal"},
              "peak_at": {"schedule": "one_cycle"}, "magnitude": {"randaugment": 2}}
    assert [perturbed("cutout", 4.0, up) for up in (True, False)] == [5.0, 3.0]
    for name in (n for n in Hyper._fields if n not in ("period_factor", "cutout")):
        config = Config(optimizer=(users(name) or ["adam"])[0], **needed.get(name, {}))
        for up, value in itertools.product((True, False), (1e-6, 0.3, 0.9, 0.999)):
            moved = perturbed(name, value, up)
            check(config, Hyper()._replace(**{name: moved}))
            most = 0.999 if name in BELOW_ONE else AT_MOST.get(name, 1e9)
            assert moved == pytest.approx(min(value * (1.2 if up else 0.8), most))


@pytest.mark.parametrize("samples", [0, 4])
def test_blanks_are_no_values(samples):
    with pytest.raises(RequestError, match="it has no values"):
        found("learning_rate= , ", samples=samples)
