"""The house keeps its bounds: a flow that can be read in an hour, files that can be seen whole."""

import mutants
from house import ROOT, measured


def test_the_house_keeps_its_bounds():
    house = measured()
    assert house.flow <= 2_500, house
    assert house.longest[0] <= 250, house
    assert house.config <= 53 // 2, house


def test_every_mutant_is_found_once_and_its_tests_are_there():
    assert mutants.misplaced() == []
    words = {word for mutant in mutants.MUTANTS for word in mutant.tests.split()}
    files = {word.partition("::")[0] for word in words if not word.startswith("-")}
    assert all((ROOT / "tests" / file).is_file() for file in files)
