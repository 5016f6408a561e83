import dataclasses
import shlex

import pytest

from engine.command import flags, recipe
from engine.config import Config, Hyper
from engine.request import Request
from engine.sweep import asked, results, space
from engine.sweep.search import Search
from engine.sweep.space import Asked, Trial

HYPER = Hyper(learning_rate=0.000123457, weight_decay=0.0, momentum=1 / 3, clip_norm=1e-30)


def asked_of(config: Config, search: Search, hyper: Hyper | None = None) -> Asked:
    """As sweep.run makes it."""
    hyper = hyper or Hyper()
    request = Request(config, hyper)
    return space.of(request, search, None)


def read_back(tmp_path, trial: Trial, command: str = "python launch.py sweep"):
    file = tmp_path / "best.py"
    file.write_text(results.recipe(trial, command, "validation accuracy", 0.98765))
    return recipe.read(str(file))[:2]


def same(a, b) -> bool:
    """Whether two requests are alike, what equal configs may differ in included."""
    return (dataclasses.asdict(a[0]), a[1]) == (dataclasses.asdict(b[0]), b[1])


@pytest.mark.parametrize("config", [
    Config(),
    Config(epochs=3, batch_size=100, optimizer="sgd", nesterov=True, seed=7, flip=True),
], ids=["default", "numbers"])
@pytest.mark.parametrize("hyper", [Hyper(), HYPER], ids=["default", "numbers"])
def test_a_recipe_is_the_trial_to_the_last_bit(tmp_path, config, hyper):
    assert same(read_back(tmp_path, Trial(3, config, hyper, {})), (config, hyper))


def test_a_recipe_says_what_it_is_and_only_what_differs():
    trial = Trial(0, Config(task="classification", epochs=3), Hyper(momentum=0.5), {})
    assert results.recipe(trial, "python launch.py sweep --seeds 2", "validation accuracy",
                          0.98765) == (
        '"""The best setting of a sweep: validation accuracy 0.9877.\n\n'
        'python launch.py sweep --seeds 2\n"""\n\n'
        "from engine.config import Config, Hyper\n\n"
        "config = Config(\n    epochs=3,\n)\n"
        "hyper = Hyper(\n    learning_rate=0.001,\n    momentum=0.5,\n)\n"
    )


def test_a_recipe_leaves_out_its_fold_and_keeps_its_order(tmp_path):
    search = Search(folds=3, same_data_order=True)
    trial = space.of(Request(Config(epochs=3), Hyper()), search).trials[1]
    assert trial.fold == "2/3" and trial.config.order_seed == 0
    assert same(read_back(tmp_path, trial), (Config(epochs=3, order_seed=0), Hyper()))


@pytest.mark.parametrize("text", [
    "digits", 'it"s', "it's", 'a"', "a\\b", "a\nb", "é", "😀",
])
def test_a_recipe_keeps_every_string(tmp_path, text):
    config = Config(dataset=text, optimizer="sgd", validation_split="0.1")
    assert same(read_back(tmp_path, Trial(0, config, Hyper(), {})), (config, Hyper()))


@pytest.mark.parametrize("text", ['"""', "a\\N"])
def test_any_command_can_head_a_recipe(tmp_path, text):
    command = f"python launch.py sweep --dataset={text}"
    assert read_back(tmp_path, Trial(0, Config(epochs=3), Hyper(), {}), command)[0].epochs == 3
    found: dict = {}
    exec((tmp_path / "best.py").read_text(), found)
    assert command in found["__doc__"]


def typed_again(sweep: Asked) -> flags.Command:
    """The command of a report, copied into a shell."""
    return flags.parse(shlex.split(results.command(sweep))[2:])


@pytest.mark.parametrize("search", [
    Search(),
    Search(("learning_rate=log:1e-4:1e-1:4", "optimizer=sgd, adam"), seeds=3, folds=5),
    Search(("clip_norm=lin:0.5:0.9",), samples=8, same_data_order=True),
    Search(("learning_rate=0.1,0.2",), seeds=3, halving=2),
    Search(("learning_rate=0.1,0.2", "clip_norm=0.8,0.9"), pbt=True),
], ids=["nothing", "folds", "samples", "halving", "pbt"])
@pytest.mark.parametrize("config", [
    Config(),
    Config(dataset="""it"s 'a' \\ $HOME *""", train_split="train[:50%]", schedule="warmup_cosine",
           warmup_epochs=0.1, epochs=3, seed=7, crop_padding=4),
], ids=["default", "everything"])
def test_the_command_typed_again_is_the_same_sweep(search, config):
    sweep = asked_of(config, search)
    command = typed_again(sweep)
    assert (command.name, command.search) == ("sweep", search)
    assert same(command.request[:2], (config, Hyper()))
    again = space.of(command.request, command.search).trials
    assert len(again) == len(sweep.trials)
    assert all(same(a[1:3], b[1:3]) and a == b for a, b in zip(again, sweep.trials, strict=True))


def test_a_sweep_of_objects_is_asked_for_again_in_python(monkeypatch):
    """No words would bring the arrays back."""
    search = Search(("learning_rate=log:1e-4:1e-1:4", "optimizer=sgd, adam"), seeds=3, folds=5)
    given: dict = {"config": Config(dataset="arrays"), "hyper": Hyper(), "data": ([[1.0]], [0])}
    monkeypatch.setattr(asked.runs, "run", lambda _, search, *others: search)
    text = results.command(asked_of(given["config"], search))
    assert eval(text, {"sweep": asked.sweep, **given}) == search
    named = results.command(asked_of(Config(dataset="digits", model=dict), search))
    assert named.startswith("sweep(config, {") and "data=" not in named


def test_the_command_typed_again_has_the_values_that_all_runs_share():
    sweep = asked_of(Config(optimizer="sgd"), Search(("momentum=0.8,0.9",)),
                     Hyper(0.01, clip_norm=1.0))
    assert typed_again(sweep).request.hyper == Hyper(0.01, clip_norm=1.0)
