import io
import math

import numpy as np
import pytest
from PIL import Image

from engine.config import Config, Hyper
from engine.errors import RequestError, RunError
from engine.sweep import lr_find, space
from engine.sweep.lr_find import Finding, picture, suggest
from engine.sweep.space import Search

INF, NAN = math.inf, math.nan
RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]


@pytest.mark.parametrize("losses, want", [
    ([2.0, 0.52, 0.5, 1.0, NAN], Finding(1e-2, 1e-3, 1e-2, 1.0)),
    ([2.0, 0.53, 0.5, 0.525, INF], Finding(1e-2, 1e-2, 1e-1, 1.0)),
    ([2.0, 0.5, 1.39, 1.41, 9.0], Finding(1e-3, 1e-3, 1e-3, 1e-1)),  # half-way is 1.4
    ([2.0, 0.5, NAN, NAN, NAN], Finding(1e-3, 1e-3, 1e-3, 1e-2)),
    ([2.2, 2.0, 1.5, 0.8, 0.3], Finding(1.0, 1.0, 1.0, None)),
    ([2.2, 0.5, 0.5, 0.5, 0.5], Finding(1e-3, 1e-3, 1.0, None)),
    ([NAN, INF, 1.0, -INF, NAN], Finding(1e-2, 1e-2, 1e-2, 1e-1)),
])
def test_the_suggested_rate_by_hand(losses, want):
    assert suggest(RATES, losses, [2.2, 2.4]) == want


@pytest.mark.parametrize("losses", [[NAN] * 5, [INF, NAN, 5.0, 2.3, 2.31]])
def test_where_no_rate_learns_none_is_suggested(losses):
    with pytest.raises(RunError, match="no learning rate from 0.0001 to 1 lowered.* 2.300") as e:
        suggest(RATES, losses, [2.2, 2.4])
    assert e.value.status == 1


@pytest.mark.parametrize("seed", range(20))
def test_the_suggestion_is_the_lowest_finite_loss_and_inside_its_range(seed):
    rng = np.random.default_rng(seed)
    losses = rng.uniform(0.3, 3.0, 5)
    losses[rng.random(5) < 0.2] = NAN
    losses[2] = 0.25
    found = suggest(RATES, losses.tolist(), [2.0])
    assert losses[RATES.index(found.rate)] == np.nanmin(losses)
    assert found.low <= found.rate <= found.high
    for rate in (found.low, found.high):
        assert losses[RATES.index(rate)] <= 1.05 * 0.25
    assert found.too_high is None or found.too_high > found.rate


def test_the_suggestion_is_drawn_with_diverged_rates_left_out():
    drawn = []
    for losses in ([2.0, 0.51, 0.5, 1.0, NAN], [2.0, 0.5, 0.51, 400.0, INF]):
        text = picture(RATES, losses, [2.3], suggest(RATES, losses, [2.3]), 200)
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
        lr_find.run(Config(), Hyper(), search)


def test_what_is_too_high_lies_above_what_is_good():
    found = suggest([0.1, 0.2, 0.3], [0.5, 2.0, 0.5], [2.1])
    assert found.too_high is None or found.too_high > found.high


@pytest.mark.parametrize("values", ["-0.1,0.1", "nan,0.1", "0.1,nan", "lin:-1:1:4", "0.1", "0,1"])
def test_rates_that_cannot_be_compared_are_refused(values, no_device):
    with pytest.raises(RequestError, match="two learning rates or more, all above 0"):
        lr_find.run(Config(), Hyper(), Search((f"learning_rate={values}",)))
