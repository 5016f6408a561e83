import pytest

from engine.pace import NARROWER_SHARE, SECONDS, TRIAL_AFTER, WIDER_SHARE, Pace, Width


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
    found = chosen(Width(7), rates, TRIAL_AFTER - 1)
    assert found[:3] == [1, 2, 4] and set(found[3:]) == {best}


def test_more_at_once_have_to_be_worth_it():
    assert set(chosen(Width(4), {1: 100.0, 2: 105.0, 4: 109.0}, TRIAL_AFTER - 1)[3:]) == {1}
    assert set(chosen(Width(4), {1: 100.0, 2: 111.0, 4: 115.0}, TRIAL_AFTER - 1)[3:]) == {2}


def seconds(found: list[int], rates: dict[int, float]) -> float:
    return sum(width / rates[width] for width in found)


@pytest.mark.parametrize("rates", [
    {1: 1.1, 2: 1.0}, {1: 1.0, 2: 1.7}, {1: 1.0, 2: 2.0, 4: 3.0, 8: 4.0},
    {1: 8.0, 2: 4.0, 4: 2.0, 8: 1.0},
])
def test_trials_cost_little_and_do_not_end(rates):
    width, best = Width(max(rates)), max(rates, key=rates.__getitem__)
    chosen(width, rates, len(rates))
    found = chosen(width, rates, 50_000)
    share = NARROWER_SHARE if best == max(rates) else WIDER_SHARE
    assert seconds(found, rates) <= (1 + 1.1 * share) * sum(found) / rates[best]
    assert set(found[-40_000:]) == set(rates) and found.count(best) > 45_000


def test_a_slower_width_may_become_the_fastest():
    width = Width(2)
    found = chosen(width, {1: 110.0, 2: 100.0}, 100)
    assert found[2:].count(2) == 2
    found = chosen(width, {1: 110.0, 2: 190.0}, 100)
    assert set(found[found.index(2) :][:TRIAL_AFTER]) == {2} and found.index(2) <= 40


def test_the_fastest_may_become_slower_than_what_another_once_did():
    width = Width(2)
    chosen(width, {1: 300.0, 2: 290.0}, 20)
    assert chosen(width, {1: 190.0, 2: 290.0}, 5) == [1, 1, 2, 2, 2]


def test_one_slow_wave_changes_nothing():
    width = Width(2)
    chosen(width, {1: 300.0, 2: 290.0}, 20)
    assert chosen(width, {1: 100.0, 2: 290.0}, 1) == [1]
    assert chosen(width, {1: 300.0, 2: 290.0}, 5) == [1] * 5


def test_no_wave_is_wider_than_what_is_left():
    width = Width(8)
    assert {width.choose(3) for _ in range(4 * TRIAL_AFTER)} <= {1, 2}
    assert chosen(width, dict.fromkeys((1, 2), 1.0), 2, left=3) == [1, 2]


def test_a_wave_too_short_to_be_timed_tells_nothing():
    width = Width(2)
    width.learn(1, 1, 0.001)
    assert width.choose(2) == 1 and str(width) == ""
    chosen(width, {1: 10.0, 2: 5.0}, 2)
    assert str(width) == "1 at once 10.0 steps/s, 2 at once 5.0 steps/s"
