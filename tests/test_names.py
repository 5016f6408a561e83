"""What the command line tells of itself: `list KIND`, --help and --helpfull."""

import dataclasses
import re
import tomllib

import pytest
from conftest import ROOT

import launch as program
from engine.augmentations import suited
from engine.command import flags, names
from engine.command.options import OPTIONS, SEARCH
from engine.command.usage import COLUMN, GROUPS, WIDTH, usage
from engine.config import MODELS, TASKS, Config, Hyper
from engine.doors import bring, trackers
from engine.errors import RequestError
from engine.export import formats
from engine.hyper import HYPER_HELP
from engine.optim import optimizers
from engine.optim.optimizers import OPTIMIZERS
from engine.optim.schedules import SCHEDULES
from engine.sets.names import SCIKIT
from engine.tfds.prepare import PLAIN


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


def test_losses_are_listed_by_task_the_default_first():
    found = listed("losses")
    assert {*found} == {*TASKS}
    for name, text in found.items():
        words = text.removesuffix(".").replace(" (the default)", "").split(", ")
        assert tuple(words) == bring.task(Config(task=name)).losses
    assert found["regression"] == "mean_squared (the default), mean_absolute, huber."


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
    assert {"digits", *SCIKIT, *PLAIN, "table:PATH"} < {*found}
    assert found["flowers"] == f"prepared in {tmp_path}." and found["mnist"].startswith("70,000")


@pytest.mark.parametrize("words, said", [
    (["modls"], "unknown kind to list 'modls': did you mean models?"),
    (["networks"],
     "choose from augmentations, datasets, losses, models, optimizers, schedules, tasks."),
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


def test_help_says_whom_a_value_is_for_by_what_uses_it(monkeypatch):
    """No text names an optimizer or a schedule by hand, which another one would make wrong."""
    names = {*OPTIMIZERS, *SCHEDULES} - {"cosine"}  # which is a curve's name, too
    words = re.compile(rf"\b({'|'.join(names)})\b")
    texts = HYPER_HELP | {f.name: f.metadata["help"] for f in dataclasses.fields(Config)}
    assert not {name: text for name, text in texts.items() if words.search(text)}
    page = " ".join(told(full=True).split())
    assert "--b1 the first moment's decay, for adam, adamw and lion --" in page
    assert "or decoupled, for adamw, lion and muon --" in page
    assert "or the first cosine, for step and restarts; default" in page
    assert "by path, a multiple or a rate of its own: 'Conv_*=0.1x,Dense_1=0.001' --" in page
    monkeypatch.setattr(optimizers, "users", lambda name: ("sgd", "lamb") * (name == "b1"))
    assert "first moment's decay, for sgd and lamb --" in " ".join(told(full=True).split())


def test_a_new_flag_is_in_helpfull_alone():
    texts = {name: "." for group in GROUPS.values() for name in group} | {"brand_new": "a\n b"}
    assert "brand_new" not in usage({}, texts, full=False)
    assert f"  --{'brand_new':{COLUMN - 5}} a b" in usage({}, texts, full=True).splitlines()
    assert "1 more flags: --helpfull" in usage({}, texts, full=False)


LOSSES = sorted({loss for task in TASKS for loss in bring.task(Config(task=task)).losses})


@pytest.mark.parametrize("page, words", [
    ("training.md", SCHEDULES), ("training.md", OPTIMIZERS), ("training.md", LOSSES),
    ("augmentations.md", [f"--{flag}" for flag in suited.PURPOSES]),
    ("exports.md", formats.FORMATS), ("integrations.md", trackers.TRACKERS),
])
def test_each_word_has_a_row_in_its_page(page, words):
    told = re.findall(r"^\|.*\|$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    typed = {part for row in told for part in re.findall(r"`(\S+?)[` ]", row)}
    assert not {*words} - typed, f"docs/{page} has no row of these"


def files_with(folder: str, begins: str) -> list[str]:
    """The files of engine's `folder` that have a line which begins so."""
    return sorted(file.stem for file in (ROOT / "engine" / folder).glob("*.py")
                  if re.search(f"^{begins}", file.read_text(), re.MULTILINE))


def test_formats_are_the_files_that_write_one_and_all_have_a_card():
    assert sorted(formats.FORMATS) == files_with("export", r"def write\(")
    assert {formats.DEFAULT, formats.TREES} < {*formats.FORMATS}
    for word in formats.FORMATS:
        how = formats.how(word)
        assert how.said and "{file}" in how.LOADED and "m.x" in how.LOADED.format(file="m.x")
    page = " ".join(told(full=True).split())
    assert f"export: {', '.join(formats.OF_NETWORKS[:-1])} or {formats.OF_NETWORKS[-1]}" in page


def test_trackers_are_the_files_that_have_one_and_say_what_they_need(monkeypatch):
    assert sorted(trackers.TRACKERS) == files_with("loggers", "class Tracker:")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {name for name, package in trackers.TRACKERS.items() if package} <= \
        extras["optional-dependencies"].keys()
    assert f"by commas: {', '.join(trackers.TRACKERS)} --" in " ".join(told(full=True).split())
    monkeypatch.setattr(trackers, "TRACKERS", {"jsonl": "", "far": "far_client"})
    trackers.check("jsonl")
    with pytest.raises(RequestError, match=r"--log far needs far_client .*'flaxmill\[far\]'"):
        trackers.check("jsonl,far")
