import pytest

from engine.pace import AGAIN, SECONDS, Pace, Width


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
    rates = {n: 100.0 + (n == best) for n in (1, 2, 4)}
    found = chosen(Width(7), rates, AGAIN - 1)
    assert found[:3] == [1, 2, 4] and set(found[3:]) == {best}


def test_a_slower_width_is_tried_again_and_may_have_become_the_fastest():
    width = Width(2)
    chosen(width, {1: 110.0, 2: 100.0}, AGAIN - 1)
    found = chosen(width, {1: 110.0, 2: 190.0}, 4 * AGAIN)
    assert found[0] == 2 and found.count(2) > 3 * AGAIN


def test_no_wave_is_wider_than_what_is_left():
    width = Width(8)
    assert {width.choose(3) for _ in range(4 * AGAIN)} <= {1, 2}
    assert chosen(width, dict.fromkeys((1, 2), 1.0), 2, left=3) == [1, 2]


def test_a_wave_too_short_to_be_timed_tells_nothing():
    width = Width(2)
    width.learn(1, 1, 0.001)
    assert width.choose(2) == 1 and str(width) == ""
    chosen(width, {1: 10.0, 2: 5.0}, 2)
    assert str(width) == "1 at once 10.0 steps/s, 2 at once 5.0 steps/s"
