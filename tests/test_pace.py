import pytest

from engine.segments import SECONDS, Pace
from engine.sweep.population import LEAST_SECONDS, Width


def test_a_segment_grows_until_it_takes_its_time():
    pace = Pace()
    assert pace.steps == 1
    for _ in range(3):
        pace.learn(pace.steps, pace.steps * 0.25)
        assert pace.steps == SECONDS / 0.25


def chosen(width: Width, rates: dict[int, float], waves: int, left: int = 64) -> list[int]:
    """What is chosen where a wave of so many runs does `rates` steps a second."""
    found = []
    for _ in range(waves):
        found.append(width.choose(left))
        width.learn(found[-1], 1000, 1000 / rates[found[-1]])
    return found


@pytest.mark.parametrize("best", [1, 2, 4])
def test_every_width_is_tried_once_and_the_fastest_kept(best):
    rates = {n: 112.0 if n == best else 100.0 for n in (1, 2, 4)}
    assert chosen(Width(7), rates, 40) == [1, 2, 4] + 37 * [best]


def test_several_at_once_have_to_be_worth_it():
    assert set(chosen(Width(4), {1: 100.0, 2: 105.0, 4: 109.0}, 20)[3:]) == {1}
    assert set(chosen(Width(4), {1: 100.0, 2: 111.0, 4: 115.0}, 20)[3:]) == {4}


def test_what_was_timed_first_counts():
    width = Width(2)
    chosen(width, {1: 100.0, 2: 150.0}, 2)
    assert chosen(width, {1: 100.0, 2: 50.0}, 5) == [2] * 5


def test_no_wave_is_wider_than_what_is_left():
    """The last wave of a segment is narrower, and tries no width that it hasn't the runs for."""
    width = Width(8)
    assert chosen(width, dict.fromkeys((1, 2), 1.0), 6, left=3) == [1, 2, 1, 1, 1, 1]
    assert chosen(width, {1: 1.0, 2: 1.0, 4: 3.0, 8: 2.0}, 4) == [4, 8, 4, 4]
    assert width.choose(3) == 1 and width.most == 8


def test_short_waves_are_timed_together():
    """Those of many members, of which a segment has time for few steps each."""
    width, found = Width(4), []
    for _ in range(1000):
        found.append(width.choose(64))
        width.learn(found[-1], found[-1], LEAST_SECONDS / 10 * (0.7 if found[-1] == 4 else 1))
    assert found[:11] == [1] * 11 and set(found[-900:]) == {4}


def test_a_wave_too_short_to_be_timed_tells_nothing():
    width = Width(2)
    width.learn(1, 1, LEAST_SECONDS / 2)
    assert width.choose(2) == 1
    width.learn(1, 1, 2 * LEAST_SECONDS)
    assert width.choose(2) == 2
