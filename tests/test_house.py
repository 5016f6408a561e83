"""The house keeps its bounds: a flow that can be read in an hour, files that can be seen whole."""

from house import measured


def test_the_house_keeps_its_bounds():
    house = measured()
    assert house.flow <= 2_500, house
    assert house.longest[0] <= 250, house
    assert house.config <= 53 // 2, house
