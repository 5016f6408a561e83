import itertools

import pytest

from engine.pace import SECONDS, TRIAL_AFTER, Pace, Width

SOONEST, LATEST = TRIAL_AFTER


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
def test_every_width_is_tried_and_the_fastest_kept(best):
    rates = {n: 112.0 if n == best else 100.0 for n in (1, 2, 4)}
    found = chosen(Width(7), rates, 2 + SOONEST)
    assert found[:3] == [1, 2, 4] and set(found[3:]) == {best}


def test_more_at_once_have_to_be_worth_it():
    assert set(chosen(Width(4), {1: 100.0, 2: 105.0, 4: 109.0}, 2 + SOONEST)[3:]) == {1}
    assert set(chosen(Width(4), {1: 100.0, 2: 111.0, 4: 115.0}, 2 + SOONEST)[3:]) == {2}


def trials(found: list[int], usual: int) -> list[int]:
    return [at for at, width in enumerate(found) if width != usual]


def test_trials_that_change_nothing_become_rare():
    width = Width(2)
    first, *later = trials(chosen(width, {1: 110.0, 2: 100.0}, 10 * LATEST), usual=1)
    gaps = [after - before for before, after in itertools.pairwise([first, *later])]
    assert first == 1 and gaps[0] <= SOONEST + 2
    assert gaps[1] == 2 * SOONEST + 1 and set(gaps[2:]) == {LATEST + 1}


def test_a_slower_width_is_tried_again_and_may_have_become_the_fastest():
    width = Width(2)
    chosen(width, {1: 110.0, 2: 100.0}, 4 * LATEST)
    found = chosen(width, {1: 110.0, 2: 190.0}, LATEST + 4 * SOONEST)
    changed = found.index(2)
    assert changed <= LATEST
    assert trials(found[changed:], usual=2) == [SOONEST + 1, 3 * SOONEST + 2]


def test_each_of_the_slower_widths_has_its_turn():
    found = chosen(Width(4), {1: 3.0, 2: 2.0, 4: 1.0}, 8 * LATEST)
    assert abs(found.count(2) - found.count(4)) <= 1


def test_no_wave_is_wider_than_what_is_left():
    width = Width(8)
    assert {width.choose(3) for _ in range(4 * SOONEST)} <= {1, 2}
    assert chosen(width, dict.fromkeys((1, 2), 1.0), 2, left=3) == [1, 2]


def test_a_wave_too_short_to_be_timed_tells_nothing():
    width = Width(2)
    width.learn(1, 1, 0.001)
    assert width.choose(2) == 1 and str(width) == ""
    chosen(width, {1: 10.0, 2: 5.0}, 2)
    assert str(width) == "1 at once 10.0 steps/s, 2 at once 5.0 steps/s"
