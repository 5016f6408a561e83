"""The house keeps its bounds: a flow that can be read in an hour, files that can be seen whole."""

import re

import mutants
from house import ROOT, circle, imports, measured, room

FLOW, LONGEST, CONFIG = 2_500, 250, 53 // 2


def test_the_house_keeps_its_bounds():
    house = measured()
    assert house.flow <= FLOW, \
        f"engine/*.py has {house.flow - FLOW} lines too many: shorten them, or move what is no flow"
    lines, file = house.longest
    assert lines <= LONGEST, \
        f"{file} has {lines - LONGEST} lines too many: shorten it, or divide it"
    assert house.config <= CONFIG, \
        f"{house.config - CONFIG} functions too many take a `config`: pass what they use of it, " \
        "or call it `asked`"


def test_the_design_names_files_that_are_there():
    told = (ROOT / "docs" / "design.md").read_text().replace("\\_", "_")
    rows = {path for row in re.findall(r"^\| .*", told, re.MULTILINE)
            for path in re.findall(r"[\w/]+\.(?:py|cc)\b", row)} - {"my.py"}
    there = {f"/{path.relative_to(ROOT)}" for path in (ROOT / "engine").rglob("*")}
    gone = [path for path in rows if "NAME" not in path
            and not any(name.endswith(f"/{path}") for name in there)]
    assert len(rows) > 20 and not gone, f"docs/design.md names what isn't there: {gone}"


def test_imports_run_one_way():
    """Whoever reads from the ground up meets nothing that stands above: of files as of wings."""
    assert circle() == [] and circle(room) == []


def test_the_readme_lists_the_wings_from_the_ground_up():
    tree = (ROOT / "README.md").read_text()
    place = {f"engine.{wing}": at for at, wing in enumerate(re.findall(r"^  (\w+)/ ", tree, re.M))}
    assert place.keys() == {room(name) for name in imports() if name.count(".") > 1}
    pairs = {(room(name), room(other)) for name, others in imports().items() for other in others}
    assert not [(one, other) for one, other in pairs if {one, other} <= place.keys()
                and place[other] > place[one]], "a wing is listed above one that it imports"


def test_every_mutant_is_found_once_and_its_tests_are_there():
    assert mutants.misplaced() == []
    words = {word for mutant in mutants.MUTANTS for word in mutant.tests.split()}
    files = {word.partition("::")[0] for word in words if not word.startswith("-")}
    assert all((ROOT / "tests" / file).is_file() for file in files)
