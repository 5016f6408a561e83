"""The learning-rate range test: what is suggested of which curve, and whole ones, of few rates."""

import io
import json
import math
import signal

import numpy as np
import pytest
from PIL import Image
from samples import Tiny, random_split

from engine.config import Config, Hyper
from engine.errors import RequestError, RunError
from engine.job.signals import Stopped
from engine.place import Place
from engine.request import Request
from engine.sweep import lr_find, space
from engine.sweep.lr_find import Finding, picture, smoothed, suggest
from engine.sweep.search import Search

pytestmark = pytest.mark.usefixtures("quickly")

INF, NAN = math.inf, math.nan
RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]


@pytest.mark.parametrize("losses, want", [
    # Smoothed, of 2.3 before: 1.73, 1.45, 1.39, 1.45, 1.73.
    ([2.3, 1.3, 0.9, 1.3, NAN], Finding(1e-2, 1e-3, 1e-1, 1.0)),
    ([2.3, 2.3, 2.3, 2.3, 0.3], Finding(1.0, 1.0, 1.0, None)),
    ([2.3, 0.5, 0.5, 0.5, 0.5], Finding(1e-1, 1e-1, 1.0, None)),
    ([0.5, 0.5, NAN, NAN, NAN], Finding(1e-4, 1e-4, 1e-4, 1e-2)),
])
def test_the_suggested_rate_by_hand(losses, want):
    assert suggest(RATES, losses, 2.3) == want


def test_the_smoothed_curve_by_hand():
    """Weights 1 2 3 2 1, of what is there at an end; a loss that is none, or worse than before, is
    that before."""
    np.testing.assert_allclose(smoothed([2.0, 1.0, NAN, 0.5, 9.0], 2.0), [
        (3 * 2 + 2 * 1 + 2) / 6, (2 * 2 + 3 * 1 + 2 * 2 + 0.5) / 8,
        (2 + 2 * 1 + 3 * 2 + 2 * 0.5 + 2) / 9, (1 + 2 * 2 + 3 * 0.5 + 2 * 2) / 8,
        (2 + 2 * 0.5 + 3 * 2) / 6,
    ])


def test_a_short_curve_is_as_long_as_its_losses():
    np.testing.assert_allclose(smoothed([1.0, 0.5], 2.0), [(3 + 2 * 0.5) / 5, (2 + 3 * 0.5) / 5])


def test_the_suggestion_stays_away_from_the_cliff():
    """The single lowest loss lies next to the rates that diverge: a lucky one."""
    rates = np.geomspace(1e-5, 1, 31).tolist()
    valley = 2.3 - 1.8 * np.exp(-((np.log10(rates) + 3) / 0.8) ** 2)
    cliff = next(at for at, rate in enumerate(rates) if rate > 0.02)
    losses = np.where(np.arange(31) > cliff, NAN, valley)
    losses[cliff] = 0.2
    assert np.nanargmin(losses) == cliff
    found = suggest(rates, losses.tolist(), 2.3)
    assert found.rate == pytest.approx(1e-3, rel=0.4)
    assert found.high < rates[cliff - 2] and found.too_high > found.high


@pytest.mark.parametrize("losses", [[NAN] * 5, [INF, NAN, 5.0, 2.3, 2.31]])
def test_where_no_rate_learns_none_is_suggested(losses):
    with pytest.raises(RunError, match="no learning rate from 0.0001 to 1 lowered.* 2.300") as e:
        suggest(RATES, losses, 2.3)
    assert e.value.status == 1


@pytest.mark.parametrize("seed", range(20))
def test_the_suggestion_is_the_bottom_of_the_curve_and_inside_its_range(seed):
    rng = np.random.default_rng(seed)
    losses = rng.uniform(0.3, 3.0, 5)
    losses[rng.random(5) < 0.2] = NAN
    losses[2] = 0.25
    found, curve = suggest(RATES, losses.tolist(), 2.0), smoothed(losses.tolist(), 2.0)
    assert curve[RATES.index(found.rate)] == curve.min()
    assert found.low <= found.rate <= found.high
    for rate in (found.low, found.high):
        assert curve[RATES.index(rate)] <= 1.05 * curve.min()
    assert found.too_high is None or found.too_high > found.high


def test_the_suggestion_is_drawn_with_diverged_rates_left_out():
    drawn = []
    for losses in ([2.0, 0.51, 0.5, 1.0, NAN], [2.0, 0.5, 0.51, 400.0, INF]):
        text = picture(RATES, losses, 2.3, suggest(RATES, losses, 2.3), 200)
        image = Image.open(io.BytesIO(text))
        assert image.format == "PNG" and image.width > 300 and image.height > 200
        low, high = image.convert("L").getextrema()
        assert high - low > 100, "a blank picture"
        drawn.append(image.tobytes())
    assert drawn[0] != drawn[1]


def test_the_default_axis_is_a_range_of_rates():
    values = space.axis(lr_find.AXIS).values
    assert len(values) == 32 and (values[0], values[-1]) == (1e-5, 1.0)


@pytest.fixture
def no_device(monkeypatch):
    monkeypatch.setattr(lr_find, "begin_alone", lambda *_: pytest.fail("it went on to the device"))


@pytest.mark.parametrize("search", [
    Search(("momentum=0.8,0.9",)), Search(("learning_rate=0.1,0.2", "epochs=1,2")),
    Search(seeds=2), Search(samples=4), Search(folds=2), Search(halving=2), Search(pbt=True),
    Search(same_data_order=True),
], ids=str)
def test_it_sweeps_the_learning_rate_alone(search, no_device):
    with pytest.raises(RequestError, match="lr-find sweeps the learning rate alone"):
        lr_find.run(Request(), search)


def test_what_is_too_high_lies_above_what_is_good():
    """A rate that learns less than half as much, beyond the good ones: not the first, below."""
    found = suggest(RATES, [2.2, 1.0, 0.5, 1.0, 2.0], 2.3)
    assert found == Finding(1e-2, 1e-2, 1e-1, 1.0)


def test_a_refused_one_leaves_no_folder(tmp_path):
    rates, place = tmp_path / "rates", Place(device="cpu", run_dir=str(tmp_path / "rates"))
    with pytest.raises(RequestError, match="model cnn"):
        lr_find.run(Request(Config(dataset="iris"), Hyper(), place), Search())
    assert not rates.exists()


@pytest.mark.parametrize("values", ["-0.1,0.1", "nan,0.1", "0.1,nan", "lin:-1:1:4", "0.1", "0,1"])
def test_rates_that_cannot_be_compared_are_refused(values, no_device):
    with pytest.raises(RequestError, match="two learning rates or more, all above 0"):
        lr_find.run(Request(), Search((f"learning_rate={values}",)))


SEARCH = Search(("learning_rate=log:1e-4:1e4:5",))


def started(path) -> Finding:
    split = random_split(64)
    return lr_find.run(Request(
        Config(model=Tiny, batch_size=8, epochs=4), Hyper(),
        Place(device="cpu", compile_cache=False, run_dir=str(path)),
        {"train": split, "test": random_split(16, seed=1)},
    ), SEARCH)


@pytest.mark.slow
def test_a_whole_one_tells_each_segment_and_keeps_its_curve(tmp_path, capsys):
    found = started(tmp_path / "rates")
    printed = capsys.readouterr().out
    told = [int(line.split()[1].split("/")[0]) for line in printed.splitlines()
            if line.startswith("step ")]
    assert told == sorted(told) and told[-1] == 32 and len(told) >= 4  # an epoch has eight
    kept = json.loads((tmp_path / "rates/lr-find.json").read_text())
    assert (kept["steps"], kept["rate"]) == (32, found.rate) and len(kept["val_losses"]) == 5
    assert kept["rates"] == pytest.approx([1e-4, 1e-2, 1, 100, 1e4])
    assert suggest(kept["rates"], kept["val_losses"], kept["before"]) == found
    assert Image.open(tmp_path / "rates/lr-find.png").width > 300
    with pytest.raises(RequestError, match="already holds the files of a lr-find"):
        started(tmp_path / "rates")


@pytest.mark.slow
def test_interrupted_it_tells_what_it_knows(tmp_path, monkeypatch):
    def cut_short(advance, state, *rest):
        for segment in lr_find.rest(advance, state, *rest):
            signal.raise_signal(signal.SIGINT)
            yield segment

    monkeypatch.setattr(lr_find, "rest", lr_find.rest_of_epoch, raising=False)
    monkeypatch.setattr(lr_find, "rest_of_epoch", cut_short)
    monkeypatch.setattr(lr_find, "suggest", lambda rates, *_: Finding(rates[0], *rates[:2], None))
    with pytest.raises(Stopped, match="stopped after 1 steps") as stopped:
        started(tmp_path / "rates")
    assert stopped.value.status == 130
    assert json.loads((tmp_path / "rates/lr-find.json").read_text())["steps"] == 1
    assert (tmp_path / "rates/lr-find.png").is_file()
