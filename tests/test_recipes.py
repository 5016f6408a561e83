"""Recipes say how they are run, and each network has one."""

import ast

import pytest
from conftest import ROOT

from engine.checks import check
from engine.command import flags
from engine.doors import bring

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


def test_each_network_for_pictures_has_a_recipe():
    names = {file.stem for file in RECIPES}
    assert {"linear", "svm", "mlp", "resnet20", "resnet18", "wideresnet", "vit", "convnext"} < names
