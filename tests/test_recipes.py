"""Recipes say how they are run, and each network has one."""

import ast
import re

import pytest
from conftest import ROOT

from engine.command import flags
from engine.config import NETWORKS
from engine.doors import bring
from engine.doors.checks import check
from engine.optim.trees import TREES

RECIPES = sorted((ROOT / "configs").glob("*.py"))
# Named by another word than its model; a recipe xgboost.py would be what `import xgboost` finds.
OTHERWISE = {"article": "cnn", "boosted_trees": "xgboost"}


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_can_be_run_as_its_docstring_types_it(file):
    if file.stem in ("boosted_trees", "random_forest"):
        pytest.importorskip("xgboost")
    told = ast.get_docstring(ast.parse(file.read_text()))
    command = f"python launch.py --config configs/{file.name}"
    assert command in told
    for line in told.replace("\\\n", "").splitlines():
        if line.startswith(command):
            words = line.replace("configs/", f"{ROOT}/configs/").split()[2:]
            request = flags.parse(words).request
            check(request.config, request.hyper)
            name = bring.short(getattr(request.config.model, "func", request.config.model))
            plain = file.stem.replace("_", "")
            assert name.lower().replace("_", "") == OTHERWISE.get(file.stem, plain)


@pytest.mark.parametrize("name", [*NETWORKS, *TREES])
def test_each_model_has_a_recipe_and_that_a_row_in_the_page(name):
    recipe = next((file for file, model in OTHERWISE.items() if model == name), name)
    assert (ROOT / "configs" / f"{recipe}.py") in RECIPES, f"write configs/{recipe}.py"
    page = (ROOT / "docs" / "recipes.md").read_text()
    assert re.search(rf"^\| .*`configs/{recipe}\.py`.* \|", page, re.MULTILINE), \
        f"docs/recipes.md has no row of configs/{recipe}.py"


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_is_a_class_of_its_files_name(name):
    assert bring.value("model", name).__module__ == f"models.{name}"
