"""The rate's course, durations, and what waits for a score: by PyTorch's schedulers, by hand, and
by the same run cut short."""

import dataclasses
import json
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import QUICK
from samples import Tiny, data_of, random_split

import launch as program
from engine.config import Config, Hyper
from engine.doors.checks import check
from engine.doors.course import durations
from engine.errors import RequestError
from engine.learners.chosen import learner_of
from engine.optim import lengths, patience
from engine.optim.lengths import Durations
from engine.optim.schedules import SCHEDULES, multiple, schedule
from engine.pure import train
from engine.sweep import space

TOTAL = 60
LENGTHS = Durations(epoch=10, warmup=10, total=TOTAL, milestones=(7, 23), period=9)
KEY = jax.random.key(5)
CONFIG = Config(model=Tiny, batch_size=16, epochs=4, optimizer="sgd")
quickly = partial(jax.jit, compiler_options=QUICK)


@pytest.fixture(scope="module")
def small():
    return data_of(random_split(32, side=4), random_split(21, side=4, seed=1))


def told(name: str, **values) -> np.ndarray:
    """The course at every step, of traced values."""
    steps = jnp.arange(TOTAL, dtype=jnp.int32)
    hyper = jax.tree.map(jnp.float32, Hyper(**values))
    at = LENGTHS._replace(milestones=()) if values.pop("every", False) else LENGTHS
    return np.asarray(jax.vmap(lambda step: schedule(name, at, hyper)(step))(steps))


def by_torch(make) -> np.ndarray:
    """A scheduler of PyTorch's, asked before each step, by its peak."""
    torch = pytest.importorskip("torch")
    chosen = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, found = make(torch.optim.lr_scheduler, chosen), []
    for _ in range(TOTAL):
        found.append(chosen.param_groups[0]["lr"])
        chosen.step()
        scheduler.step()
    return np.array(found)


@pytest.mark.parametrize("name, values, make", [
    ("step", {"drop_factor": 0.3}, lambda s, o: s.MultiStepLR(o, [7, 23], 0.3)),
    ("step", {}, lambda s, o: s.MultiStepLR(o, [7, 23], 0.1)),
    ("restarts", {}, lambda s, o: s.CosineAnnealingWarmRestarts(o, 9)),
    ("restarts", {"period_factor": 1.0}, lambda s, o: s.CosineAnnealingWarmRestarts(o, 9)),
    ("restarts", {"period_factor": 2.0}, lambda s, o: s.CosineAnnealingWarmRestarts(o, 9, 2)),
    ("one_cycle", {}, lambda s, o: s.OneCycleLR(o, 1.0, TOTAL, cycle_momentum=False)),
    ("one_cycle", {"peak_at": 0.45},
     lambda s, o: s.OneCycleLR(o, 1.0, TOTAL, pct_start=0.45, cycle_momentum=False)),
])
def test_a_schedule_is_pytorchs(name, values, make):
    np.testing.assert_allclose(told(name, **values), by_torch(make), atol=2e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_multiple_is_the_courses(name):
    hyper = jax.tree.map(jnp.float32, Hyper(drop_factor=0.3, peak_at=0.4))
    course = schedule(name, LENGTHS, hyper)
    np.testing.assert_allclose([multiple(name, LENGTHS, hyper, n) for n in (0, 9, 30, 59)],
                               [course(n) for n in (0, 9, 30, 59)], rtol=1e-6, atol=1e-7)


def test_a_rate_drops_every_period_where_there_are_no_milestones():
    course = schedule("step", LENGTHS._replace(milestones=()), Hyper(drop_factor=0.5))
    np.testing.assert_allclose([course(n) for n in (0, 8, 9, 17, 18, 59)],
                               [1, 1, 0.5, 0.5, 0.25, 0.5**6])


def test_a_course_has_a_slope_where_its_factor_is_0():
    """0 to the 0th is 1, and constant."""
    def course(factor):
        return jnp.stack([schedule("step", LENGTHS._replace(milestones=()), Hyper(
            drop_factor=factor))(n) for n in (0, 8, 9, 17, 18)])

    np.testing.assert_array_equal(course(0.0), [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(jax.jacrev(course)(0.0), [0, 0, 1, 1, 0])


def test_a_traced_factor_below_1_makes_cycles_no_shorter():
    """Typed it is refused; of lengths that come to 0 the rates were NaN."""
    np.testing.assert_array_equal(told("restarts", period_factor=0.5),
                                  told("restarts", period_factor=1.0))


def test_cycles_of_a_fraction_are_of_whole_updates_and_end_at_their_rounded_sums():
    """9, 13.5 and 20.25 updates are 9, 14 and 20."""
    course = told("restarts", period_factor=1.5)
    assert [n for n in range(TOTAL) if course[n] > 0.999] == [0, 9, 23, 43]
    assert course[22] == pytest.approx(0.5 * (1 + np.cos(np.pi * 13 / 14)), abs=1e-6)


def test_a_run_at_its_end_is_done_and_not_stopped():
    learner = learner_of(dataclasses.replace(CONFIG, patience=1, epochs=3), 4)
    asked, rows = (Hyper(), learner.lengths(32)), [{"val_accuracy": 0.5}] * 3
    assert [bool(learner.over(*asked, rows[:epochs])) for epochs in (1, 2, 3)] == [
        False, True, False]


@pytest.mark.parametrize("typed, held, steps", [
    ("5", 5.0, 50), ("5ep", 5.0, 50), ("0.25", 0.25, 2), ("0.28", 0.28, 3), (3, 3.0, 30),
    ("300st", "300st", 300),
])
def test_a_duration_is_epochs_or_updates(typed, held, steps):
    config = Config(schedule="step", period=typed, epochs=99, batch_size=10)
    assert config.period == held and lengths.in_steps(config.period, 10) == steps
    check(config, Hyper())
    assert durations(config, 100).period == steps


@pytest.mark.parametrize("words, said", [
    (["--patience", "soon"], "--patience soon: type epochs, as 5 or 5ep, or updates, as 300st."),
    (["--patience", "-1"], "--patience -1.0: type 0 or more."),
    (["--patience", "10"], "--patience 10.0 is as long as the run of 10 epochs: type less, or"),
    (["--patience", "3", "--monitor", "val_los"], "'val_los': did you mean val_loss?"),
    (["--patience", "9999999st"], "--patience 9999999st is as long as the run of"),
    (["--patience", "0st"], "--patience 0st is not one update: type more."),
    (["--min_delta", "0.1"], "--min_delta 0.1 has no effect without --patience"),
    (["--monitor", "val_loss"], "--monitor val_loss has no effect without --patience or"),
    (["--drop_factor", "0.5"], "--drop_factor 0.5 has no effect with --schedule constant: type "
                               "--schedule step or plateau, or leave it out."),
    (["--schedule", "plateau", "--period", "2"], "--period 2.0 has no effect with --schedule "
                                                 "plateau: type --schedule step or restarts"),
    (["--schedule", "plateau", "--milestones", "2"], "type --schedule step, or leave it out."),
    (["--schedule", "step", "--plateau_patience", "2"], "type --schedule plateau, or leave it out"),
    (["--schedule", "cosine", "--peak_at", "0.2"], "type --schedule one_cycle, or leave it out."),
    (["--schedule", "plateau", "--plateau_patience", "0"], "would drop the rate every epoch"),
    (["--schedule", "step"], "drops the rate at --milestones 30,60 or every --period 30: type one"),
    (["--schedule", "step", "--milestones", "3", "--period", "3"], "type one of the two."),
    (["--schedule", "step", "--milestones", "3,soon"], "--milestones 3,soon: type epochs, as 5"),
    (["--schedule", "step", "--milestones", "3,12"], "--milestones 12.0 is as long as the run"),
    (["--schedule", "step", "--period", "10"], "--period 10.0 is as long as the run of 10 epochs"),
    (["--schedule", "restarts"], "needs the first cosine's length: type --period 10."),
    (["--schedule", "restarts", "--period", "2", "--period_factor", "0.5"], "of 1 or more."),
    (["--schedule", "warmup_cosine", "--warmup_epochs", "99999st"], "99999st is as long as the"),
    (["--ema_decay", "1"], "--ema_decay 1.0: type a number below 1."),
    (["--ema_decay", "0.9", "--average_from", "2"], "are two averages: type one of the two."),
    (["--average_from", "10"], "--average_from 10.0 is as long as the run of 10 epochs"),
    (["sweep", "--sweep", "b1=0.8,0.9", "--patience", "3", "--halving", "2"],
     "--patience 3.0 stops runs by their own history, and --halving by the others': type one"),
    (["sweep", "--sweep", "average_from=0,5"], "0 keeps no average, and its scores don't compare"),
    (["sweep", "--sweep", "period=soon"], "'soon' is not epochs, as 5 or 5ep, or updates, as 300"),
])
def test_what_cannot_be_is_one_line_and_status_2(words, said, capsys, here):
    asked = [*words[:1], "--dataset", "iris", "--device", "cpu", *words[1:]] \
        if words[0] == "sweep" else ["--dataset", "iris", "--model", "linear", "--device", "cpu",
                                     *words]
    assert program.main(asked) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and not list(here.iterdir())


def test_a_duration_of_an_axis_may_be_in_updates():
    assert space.axis("period=2,300st").values == (2.0, "300st")
    assert space.axis("warmup_epochs=lin:0:3:4").values == (0.0, 1.0, 2.0, 3.0)


def counted(values, wait: int, min_delta: float, higher: bool) -> int:
    """After how many epochs a run stops, counted by hand."""
    best, without = (-np.inf if higher else np.inf), 0
    for number, value in enumerate(values, 1):
        if (value > best + min_delta) if higher else (value < best - min_delta):
            best, without = value, 0
        else:
            without += 1
        if without >= wait:
            return number
    return len(values)


class Counted(NamedTuple):
    step: jax.Array


@pytest.mark.parametrize("higher, min_delta", [(True, 0.0), (False, 0.0), (True, 0.125),
                                               (False, 0.125)])
def test_stopping_is_as_counted_by_hand_on_the_host_and_in_a_scan(higher, min_delta):
    """Of values on a grid, which are exact in float32, so that ties and exact steps come too."""
    draw, watched = np.random.default_rng(3), patience.Monitor("score", higher)

    @partial(quickly, static_argnums=1)
    def scanned(values, wait):
        def epoch(state, _):
            value = values[state.step // 5]
            return Counted(state.step + 5), {"score": value}

        over, watch = patience.stopping(epoch, watched, 5 * wait, min_delta)
        return jax.lax.scan(over, (Counted(jnp.int32(0)), watch), length=12)

    seen = set()
    for wait in (1, 3):
        for _ in range(25):
            values = draw.integers(0, 9, 12) / 16
            if draw.random() < 0.3:
                values[draw.integers(12)] = np.nan
            want = counted(values, wait, min_delta, higher)
            seen.add(want)
            ended = [bool(patience.stops(values[:n], 5, watched, 5 * wait, min_delta))
                     for n in range(1, 13)]
            assert (ended.index(True) + 1 if True in ended else 12) == want
            (state, _), rows = scanned(jnp.float32(values), wait)
            assert int(state.step) == 5 * want
            np.testing.assert_array_equal(rows["score"][:want], np.float32(values[:want]))
            assert np.isnan(rows["score"][want:]).all()
    assert len(seen) > 5


class Now(NamedTuple):
    """What of a State a plateau asks."""

    step: Any
    plateau: patience.Plateau


def watching(score: patience.Monitor) -> Any:
    """What of a learner it asks."""
    return SimpleNamespace(monitor=lambda hyper: score)


@pytest.mark.parametrize("higher", [True, False])
def test_a_plateau_is_pytorchs(higher):
    """Whose patience is of epochs too many: one less."""
    torch = pytest.importorskip("torch")
    chosen = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        chosen, "max" if higher else "min", 0.5, patience=2, threshold=0.0)
    watched, hyper = patience.Monitor("score", higher), Hyper(drop_factor=0.5)
    now, scales = Now(jnp.int32(0), patience.level(watched)), []
    for number, value in enumerate(np.random.default_rng(1).integers(0, 30, 40), 1):
        theirs.step(float(value))
        now = patience.heard(watching(watched), hyper, LENGTHS._replace(plateau_patience=30),
                             now._replace(step=jnp.int32(10 * number)), {"score": float(value)})
        scales.append(float(now.plateau.scale))
        assert scales[-1] == chosen.param_groups[0]["lr"]
    assert len(set(scales)) > 4


def test_a_plateau_drops_after_its_patience_and_waits_anew():
    """Of three epochs: after 5 (2 is the best), 8, and 12 (9 is the best)."""
    watched, found = patience.Monitor("score", False), []
    now = Now(jnp.int32(0), patience.level(watched))
    for number, value in enumerate([5, 3, 3, 4, 4, 4, 3, 3, 2, 2, 2, 2], 1):
        now = patience.heard(watching(watched), Hyper(), LENGTHS._replace(plateau_patience=21),
                             now._replace(step=jnp.int32(7 * number)), {"score": value})
        found.append(round(float(now.plateau.scale), 6))
    assert found == [1] * 4 + [0.1] * 3 + [0.01] * 4 + [0.001]


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def alone(config, hyper, data):
    return train(config, hyper, KEY, data)


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def together(config, hypers, data):
    return jax.vmap(lambda hyper: train(config, hyper, KEY, data))(hypers)


def stacked(*hypers: Hyper) -> Hyper:
    return jax.tree.map(lambda *x: np.array(x, np.float32), *hypers)


ALL = [
    ({"schedule": "step", "milestones": "1,2"}, "drop_factor", (0.5, 0.01)),
    ({"schedule": "restarts", "period": "3st"}, "period_factor", (1.0, 2.0)),
    ({"schedule": "one_cycle"}, "peak_at", (0.25, 0.6)),
    ({"schedule": "plateau", "plateau_patience": 1}, "drop_factor", (0.5, 0.01)),
    ({"patience": 1, "monitor": "val_loss", "min_delta": 0.01}, "learning_rate", (3.0, 1e-4)),
    ({}, "ema_decay", (0.5, 0.9)),
]


@pytest.mark.slow
@pytest.mark.parametrize("how, name, values", ALL)
def test_a_traced_value_of_many_runs_is_the_run_alone(how, name, values, small):
    config = dataclasses.replace(CONFIG, **how)
    hypers = [Hyper(learning_rate=0.3)._replace(**{name: value}) for value in values]
    states, rows = together(config, stacked(*hypers), small)
    found = []
    for at, hyper in enumerate(hypers):
        state, row = alone(config, jax.tree.map(jnp.float32, hyper), small)
        for one, many in zip(jax.tree.leaves((state, row)), jax.tree.leaves((states, rows)),
                             strict=True):
            np.testing.assert_allclose(one, many[at], rtol=2e-5, atol=2e-6)
        found.append(np.asarray(row["val_averaged_loss" if name == "ema_decay" else "loss"]))
    assert not np.array_equal(*found, equal_nan=True)


@pytest.mark.slow
def test_a_run_that_stops_is_the_run_of_so_many_epochs(small):
    """Under a rate that is too high to go on getting better."""
    config = dataclasses.replace(CONFIG, patience=1, monitor="val_loss", epochs=6)
    hyper = jax.tree.map(jnp.float32, Hyper(learning_rate=2.0))
    state, rows = alone(config, hyper, small)
    long = alone(dataclasses.replace(config, patience=0.0, monitor=""), hyper, small)[1]
    want = counted(np.asarray(long["val_loss"]), 1, 0.0, False)
    assert 1 < want < 6 and int(state.step) == 2 * want
    short, _ = alone(dataclasses.replace(CONFIG, epochs=want), hyper, small)
    jax.tree.map(np.testing.assert_array_equal, state.params, short.params)
    np.testing.assert_array_equal(rows["loss"][:want], long["loss"][:want])
    assert np.isnan(rows["loss"][want:]).all()


def test_a_score_of_which_nobody_says_more_or_less_is_refused():
    from engine.tasks.classification import Classification

    class Scored(Classification):
        def row(self, tally):
            return super().row(tally) | {"luck": jnp.float32(0)}

    with pytest.raises(RequestError, match="luck: nobody says whether more of it is better; type "
                                           "one of accuracy, loss, val_accuracy, val_loss"):
        patience.monitor(Scored(), "luck", False)
    assert patience.monitor(Scored(), "", False) == ("val_accuracy", True)
    assert patience.monitor(Scored(), "val_averaged_loss", True) == ("val_averaged_loss", False)


def test_an_old_config_json_reads_and_updates_are_written_as_words(tmp_path):
    from engine.request import Request
    from engine.store import folder, record

    config = Config(schedule="warmup_cosine", warmup_epochs="30st")
    content = folder.described(Request(config), fingerprint="0")
    assert content["config"]["warmup_epochs"] == "30st"
    folder.write_config(tmp_path, content)
    assert record.read(tmp_path / "config.json").request.config == config
    for name in ("period", "milestones", "patience", "average_from"):
        del content["config"][name]
    content["config"]["warmup_epochs"] = 1.0
    for name in ("ema_decay", "drop_factor"):
        del content["hyper"][name]
    folder.write_config(tmp_path, content)
    read = record.read(tmp_path / "config.json").request
    assert read.config == Config(schedule="warmup_cosine") and read.hyper == Hyper()
    content["config"]["warmup_epochs"] = "soon"
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(RequestError, match="warmup_epochs can't be 'soon'"):
        record.read(tmp_path / "config.json")
