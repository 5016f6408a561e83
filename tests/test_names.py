"""What the command line tells of itself: `list KIND`, --help and --helpfull."""

import dataclasses

import pytest

import launch as program
from engine.command import flags, names
from engine.command.options import OPTIONS, SEARCH
from engine.command.usage import COLUMN, GROUPS, WIDTH, usage
from engine.config import MODELS, TASKS, Config, Hyper
from engine.optim.optimizers import OPTIMIZERS
from engine.optim.schedules import SCHEDULES
from engine.sources import _SCIKIT
from engine.sources.prepare import PLAIN


def listed(kind: str, folder: str = "") -> dict[str, str]:
    rows = (line.partition(" ") for line in names.told([kind], folder).splitlines())
    return {name: text.strip() for name, _, text in rows}


@pytest.mark.parametrize("kind, want", [
    ("models", MODELS), ("tasks", TASKS), ("optimizers", OPTIMIZERS), ("schedules", SCHEDULES),
])
def test_what_is_there_by_name_is_told_by_its_docstring(kind, want):
    found = listed(kind)
    assert sorted(found) == sorted(want)
    assert all(text.endswith(".") for text in found.values()), found


def test_a_line_is_a_docstrings_first_sentence():
    assert listed("models")["resnet20"] == (
        "ResNet-20 for images of CIFAR's size (He et al. 2015, section 4.2); 269,722 parameters "
        "for RGB images of 10 classes.")
    assert listed("optimizers")["adamw"].startswith("Loshchilov & Hutter 2017; adam where")
    assert names.sentence("One of 1.5 (He et al. 2015)\n    goes on. Two.") == \
        "One of 1.5 (He et al. 2015) goes on."
    assert {"flip", "crop"} <= {*listed("augmentations")}
    assert "mirrored" in listed("augmentations")["flip"]


def test_the_sets_by_name_and_those_that_are_prepared(tmp_path):
    (tmp_path / "flowers/1.0.0").mkdir(parents=True)
    (tmp_path / "flowers/1.0.0/dataset_info.json").touch()
    (tmp_path / "mnist/3.0.1").mkdir(parents=True)
    found = listed("datasets", str(tmp_path))
    assert {"digits", *_SCIKIT, *PLAIN, "table:PATH"} < {*found}
    assert found["flowers"] == f"prepared in {tmp_path}." and found["mnist"].startswith("70,000")


@pytest.mark.parametrize("words, said", [
    (["modls"], "unknown kind to list 'modls': did you mean models?"),
    (["networks"], "choose from augmentations, datasets, models, optimizers, schedules, tasks."),
    ([], "list takes one kind: type list models, tasks, "), (["models", "tasks"], "one kind"),
])
def test_another_kind_is_refused_with_the_nearest(words, said, capsys):
    assert program.main(["list", *words]) == 2
    assert said in capsys.readouterr().err


def told(full: bool) -> str:
    return flags.parse(["--helpfull" if full else "--help"])


def shown(page: str) -> set[str]:
    return {line.split()[0][2:] for line in page.splitlines() if line.startswith("  --")}


def test_help_has_the_common_flags_first_and_helpfull_all():
    every = {*(f.name for f in dataclasses.fields(Config)), *Hyper._fields, *OPTIONS,
             *SEARCH, "help", "helpfull", "config", "coordinator"}
    common = {name for group in GROUPS.values() for name in group}
    assert common == shown(told(full=False)) < shown(told(full=True)) >= every
    assert {"dataset", "model", "learning_rate", "resume", "sweep"} < common
    assert len(common) < 40  # on a page
    full = told(full=True)
    assert full.startswith(told(full=False).rpartition("\n\n")[0])
    assert max(map(len, full.splitlines())) <= WIDTH


def test_a_new_flag_is_in_helpfull_alone():
    texts = {name: "." for group in GROUPS.values() for name in group} | {"brand_new": "a\n b"}
    assert "brand_new" not in usage({}, texts, full=False)
    assert f"  --{'brand_new':{COLUMN - 5}} a b" in usage({}, texts, full=True).splitlines()
    assert "1 more flags: --helpfull" in usage({}, texts, full=False)
