import dataclasses
import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

import launch as program
from engine.command import flags, options
from engine.config import MODELS, NETWORKS, TASKS, Config, Hyper
from engine.doors import bring, network
from engine.doors.checks import check
from engine.doors.course import durations
from engine.errors import NEAR, RequestError, nearest, unknown
from engine.hyper import HYPER_HELP
from engine.job import processes
from engine.optim import schedules
from engine.optim.optimizers import OPTIMIZERS
from engine.optim.schedules import SCHEDULES
from engine.place import Place
from engine.request import Request
from engine.sets.splits import held_out
from engine.store import folder, record
from engine.sweep.search import SEARCH_HELP, Search


def test_epochs_become_steps_and_the_last_batch_counts():
    lengths = durations(Config(epochs=10, batch_size=32, warmup_epochs=0.5), 50_000)
    assert (lengths.epoch, lengths.warmup, lengths.total) == (1563, 782, 15_630)


def asked(*words: object) -> Request:
    return flags.parse([str(word) for word in words]).request


def test_flags_override_a_recipe_and_leave_the_rest():
    request = asked("--config", ROOT / "configs/article.py", "--epochs", "3",
                    "--learning_rate=0.01", "--clip_norm", "1")
    assert request.config == dataclasses.replace(Config(), epochs=3, shuffle="once")
    assert request.hyper == Hyper(learning_rate=0.01, clip_norm=1.0)


def in_folder(folder: str) -> tuple[str, ...]:
    """The words that its files are."""
    names = (name.removesuffix(".py") for name in os.listdir(ROOT / folder) if name.endswith(".py"))
    return tuple(sorted({*names} - {"__init__"}))


def test_every_choice_is_there():
    choices = {f.name: f.metadata["choices"] for f in dataclasses.fields(Config)}
    assert NETWORKS == in_folder("models")
    assert choices["model"] == MODELS == tuple(sorted((*NETWORKS, "random_forest", "xgboost")))
    assert choices["task"] == ("auto", *TASKS)
    assert TASKS == in_folder("engine/tasks")
    assert all(network.of(name, 3) for name in NETWORKS)
    assert all(bring.task(Config(task=name)).loss for name in TASKS)
    assert set(choices["optimizer"]) == set(OPTIMIZERS)
    assert set(choices["schedule"]) == set(SCHEDULES)
    assert set(HYPER_HELP) == set(Hyper._fields)
    assert set(SEARCH_HELP) == set(Search._fields)


@pytest.mark.parametrize("text, value", [("0.1", 0.1), ("2/5", (2, 5)), ("test", None),
                                         ("a/b", None), ("train", None)])
def test_validation_split_is_a_fraction_a_fold_or_a_name(text, value):
    assert held_out(text) == value


@pytest.mark.parametrize(
    "words, said",
    [
        (["--modle", "cnn"], "model"),
        (["--model", "cnm"], f"choose from {', '.join(MODELS[:5])},"),
        (["--optimizer", "adamm"], "did you mean adam"),
        (["--schedule", "cosin"], "did you mean cosine"),
        (["--device", "cuda"], "choose from auto, cpu, gpu, tpu"),
        (["--epochs", "0"], "--epochs 0: type 1 or more"),
        (["--epochs", "ten"], "ten"),
        (["--batch_size", "-4"], "--batch_size -4"),
        (["--batch_size", "32", "--microbatch", "5"], "does not divide"),
        (["--learning_rate", "nan"], "--learning_rate nan"),
        (["--learning_rate", "1e99"], "--learning_rate 1e+99: float32 has none such: type 0, or"),
        (["--weight_decay", "1e-60"], "--weight_decay 1e-60: float32 has none such"),
        (["--fsdp=abc"], "flaxmill: --fsdp=abc: type --fsdp or --nofsdp.\n"),
        (["--epochs="], "flaxmill: --epochs=: type a whole number.\n"),
        (["--momentum", "a: b"], "flaxmill: --momentum=a: b: type a number.\n"),
        (["--class_weights", "nan,1,1"], "--class_weights nan,1,1: type finite numbers of 0"),
        (["--label_smoothing", "1"], "below 1"),
        (["--threshold", "inf"], "--threshold inf: type less than 1."),
        (["--threshold", "1"], "--threshold 1.0: type less than 1."),
        (["trian"], "did you mean train"),
        (["train", "more"], "flags only"),
        (["eval"], "--run_dir"),
        (["eval", "--run_dir", "nowhere"], "no run in nowhere"),
        (["--resume", "nowhere"], "no run in nowhere"),
        (["--config", "configs/nothing.py"], "no such recipe"),
        (["eval", "--run_dir", "here", "--memory"], "--memory is for train, not for eval."),
        (["sweep", "--memory"], "--memory is for train, not for sweep."),
        (["sweep", "--profile"], "--profile is for train, not for sweep."),
        (["lr-find", "--summary"], "--summary is for train, not for lr-find."),
        (["eval", "--run_dir", "here", "--resume", "there"],
         "--resume is for train and sweep, not for eval."),
        (["lr-find", "--resume", "there"], "--resume is for train and sweep, not for lr-find."),
        (["sweep", "--checkpoint", "best"],
         "--checkpoint is for eval, predict, export and serve, not for sweep."),
        (["--format", "onnx"], "--format is for export, not for train."),
        (["serve"], "serve needs the run's folder: --run_dir runs/..."),
        (["serve", "nowhere"], "no run in nowhere"),
        (["serve", "here", "--run_dir", "there"], "serve got both here and --run_dir"),
        (["--json"], "--json is for doctor and eval, not for train."),
        (["eval", "--run_dir", "here", "--top", "3"], "--top is for predict, not for eval."),
        (["predict", "--run_dir", "here", "--top", "0", "a.png"], "--top 0: type 1 or more."),
        (["eval", "--run_dir", "here", "--checkpoint", "bets"], "did you mean best"),
        (["sweeep"], "did you mean sweep"),
        (["lr_find"], "did you mean lr-find"),
        (["sweep", "learning_rate=1,2"], "sweep takes flags only, but got 'learning_rate=1,2'"),
        (["sweep", "--sample", "3"], "Did you mean: sampler, samples"),
        (["sweep", "--seeds", "many"], "many"),
        (["sweep", "--resume", "nowhere"], "no run in nowhere: it holds no sweep.json"),
        (["sweep", "--resume", "there", "--run_dir", "here"], "leave --run_dir out"),
    ],
)
def test_a_bad_request_is_one_clear_line_and_status_2(words, said, capsys):
    assert program.main(words) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_how_a_run_learned_is_not_typed_where_it_has(tmp_path, capsys):
    """What it is asked by, and where a file of its own lies now, is."""
    file = tmp_path / "own.py"
    file.write_text(OWN)
    folder.write_config(tmp_path, record.to_json(asked("--optimizer", f"{file}:chain")))
    for command, words, said in (
            ("predict", ["--flip"], "--flip has no effect with predict, which takes"),
            ("eval", ["--model", "linear"], "--model has no effect with eval"),
            ("export", ["--epochs", "3", "--task", "regression"],
             "has no effect with export"),
            ("eval", ["--beta", "0.7"], "--beta has no effect with eval"),
            ("serve", ["--learning_rate", "1"], "--learning_rate has no effect with serve")):
        assert program.main([command, "--run_dir", str(tmp_path), *words]) == 2
        assert said in capsys.readouterr().err
    found = asked("eval", "--run_dir", tmp_path, "--threshold", "0.3", "--precision", "bf16",
                  "--background", "black", "--optimizer", f"{file}:chain")
    assert (found.config.threshold, found.config.precision) == (0.3, "bf16")


def no_effect(word: str, optimizer: str, users: str) -> str:
    return f"{word} has no effect with --optimizer {optimizer}: {users} would use it; leave it out."


NO_EFFECT = [
    (["--momentum", "0.9"], no_effect("--momentum 0.9", "adam", "sgd and rmsprop")),
    (["--nesterov"], no_effect("--nesterov", "adam", "sgd and rmsprop")),
    (["--optimizer", "sgd", "--b1", "0.8"],
     no_effect("--b1 0.8", "sgd", "adam and adamw and lion")),
    (["--optimizer", "rmsprop", "--eps_root", "1e-8"],
     no_effect("--eps_root 1e-08", "rmsprop", "adam and adamw")),
    (["--optimizer", "muon", "--b2", "0.9"],
     no_effect("--b2 0.9", "muon", "adam and adamw and rmsprop and lion")),
    (["--warmup_epochs", "2"], "--warmup_epochs 2.0 has no effect with --schedule constant: type "
                               "--schedule warmup_cosine, or leave it out."),
    (["--optimizer", "sgd", "--nesterov"], "--nesterov has no effect with --optimizer sgd without "
                                           "momentum: type --momentum 0.9."),
    (["--optimizer", "rmsprop", "--nesterov"], "without momentum: type --momentum 0.9."),
    (["--clip_norm", "0"], "--clip_norm 0 would train nothing: type a norm above 0, such as 1"),
    (["--schedule", "warmup_cosine", "--epochs", "3", "--warmup_epochs", "3"],
     "--warmup_epochs 3.0 is as long as the run of 3 epochs"),
]


@pytest.mark.parametrize("words, said", NO_EFFECT, ids=lambda x: " ".join(x)[:40])
def test_what_nothing_would_use_is_refused_and_what_would_use_it_named(words, said, capsys):
    assert program.main(words) == 2
    assert said in capsys.readouterr().err


def test_a_swept_value_that_nothing_would_use_is_refused(capsys):
    words = ["sweep", "--dataset", "digits", "--device", "cpu", "--sweep", "momentum=0.8,0.9"]
    assert program.main(words) == 2
    said = "--momentum 0.8 has no effect with --optimizer adam: sgd and rmsprop would use it"
    assert said in capsys.readouterr().err


def test_what_is_used_is_not_refused():
    for config, hyper in (
        (Config(optimizer="sgd", nesterov=True), Hyper(momentum=0.9)),
        (Config(optimizer="lion"), Hyper(b1=0.9, b2=0.9, weight_decay=0.0)),
        (Config(schedule="warmup_cosine", warmup_epochs=2), Hyper(eps_root=0.0, clip_norm=1.0)),
    ):
        check(config, hyper)


@pytest.mark.parametrize("field, value, near", [
    ("optimizer", "adamm", "adam"), ("schedule", "cosin", "cosine"),
    ("shuffle", "onse", "once"), ("task", "regresion", "regression"),
    ("model", "resnet2", "resnet20 or resnet18"), ("convolution", "direkt", "direct"),
])  # fmt: skip
def test_an_unknown_word_is_refused_in_python_too(field, value, near):
    """`check` is what `fit`, `train` and the command line call."""
    with pytest.raises(RequestError, match=f"unknown {field} '{value}': did you mean {near}"):
        check(Config(**{field: value}), Hyper())


def test_an_unknown_loss_is_refused_whoever_asks(capsys):
    said = "unknown loss of --task classification 'mse': choose from focal, hinge, softmax_cross"
    with pytest.raises(RequestError, match=said):
        bring.task(Config(loss="mse"))
    assert program.main(["--dataset", "digits", "--device", "cpu", "--loss", "mse"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("typed, choice, near", [
    ("binary_crossentropy", "softmax_cross_entropy", False), ("serve", "sweep", False),
    ("sweeep", "sweep", True), ("cosin", "cosine", True), ("adma", "adam", True),
    ("lr_find", "lr-find", True), ("MLP", "mlp", True), ("mpl", "mlp", True), ("vt", "cnn", False),
])  # fmt: skip
def test_only_what_looks_like_a_word_is_guessed_to_be_it(typed, choice, near):
    assert 0.6 < NEAR < 0.8
    assert ("did you mean" in str(unknown("word", typed, [choice]))) == near


@pytest.mark.parametrize("name, text, said", [
    ("recipe", "config = 1", "type a recipe in Python, FILE.py, or a run's config.json"),
    ("r.yaml", "epochs: 3", "type a recipe in Python, FILE.py, or a run's config.json"),
    ("r.py", "", "it has none of config, hyper, place, data, which a recipe sets"),
    ("r.py", "from engine.config import Config, Hyper\ncfg, h = Config(epochs=3), Hyper()",
     "cfg is a Config: call it config. h is a Hyper: call it hyper."),
    *[("r.json", text, 'r.json is not a run\'s configuration: it has no "config" and "hyper" '
       "(a recipe of your own is a .py file). Put back what the run wrote, or name another.")
      for text in ('{"epochs": 3}', "[]", "null", '{"config": 3, "hyper": {}}',
                   '{"config": {}, "hyper": [1]}')],
])
def test_what_is_no_recipe_is_told_what_is(name, text, said, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(RequestError) as refused:
        asked("--config", tmp_path / name)
    assert said in str(refused.value)


@pytest.mark.parametrize("text", ["hyper = Hyper(b1=0.8)", "place = Place(report=False)",
                                  "config = Config()", "data = {}"])
def test_a_recipe_may_set_one_of_its_names_alone(text, tmp_path):
    (tmp_path / "r.py").write_text("from engine.config import Config, Hyper\n"
                                   f"from engine.place import Place\n{text}")
    assert asked("--config", tmp_path / "r.py").config.epochs == 10


def test_words_are_guessed_as_they_are_written_before_any_case():
    assert nearest("agee", ["Age", "age", "AGEE"]) == ["age"]
    assert nearest("AGE", ["fare", "age"]) == ["age"]


def test_a_runs_config_json_is_a_recipe(tmp_path):
    """What it computes; not where that was."""
    config, hyper = Config(dataset="digits", epochs=3, seed=5), Hyper(clip_norm=1.0)
    place = Place(run_dir="where it was", device="cpu")
    folder.write_config(tmp_path, folder.described(Request(config, hyper, place), fingerprint="0"))
    request = asked("--config", tmp_path / "config.json", "--epochs", "4")
    assert request.hyper == hyper and request.place == Place(device="cpu")
    assert request.config == dataclasses.replace(config, epochs=4)
    assert (request.config.dataset, request.config.seed) == ("digits", 5)


def test_a_record_of_before_reads(tmp_path):
    """Commit a58dec9's names the loss and knew a model_parallel."""
    old = record.to_json(Request(place=Place(run_dir="x")))
    old["config"] |= {"loss": "softmax_cross_entropy", "model_parallel": 1}
    for name in ("task", "threshold", "augment", "validation_split"):
        del old["config"][name]
    folder.write_config(tmp_path, old | {"fingerprint": "0"})
    now = Config(task="classification", validation_split="test")  # the defaults of then
    assert record.read(tmp_path / "config.json").request == Request(now, place=Place(run_dir="x"))
    record.compare(tmp_path, Request(now), {"fingerprint": "0"})
    with pytest.raises(RequestError, match="an older flaxmill, which drew --validation_split 0.1"):
        record.Saved(tmp_path, Request(now), old).same_draw("0.1")


def test_what_a_run_of_before_named_without_effect_keeps_nobody_from_it(tmp_path):
    """Commit a58dec9 took --momentum beside adam; a record can't leave it out."""
    idle = Request(Config(nesterov=True, warmup_epochs=2.0), Hyper(momentum=0.9, b1=0.8))
    folder.write_config(tmp_path, record.to_json(idle))
    for words in (["--resume", tmp_path], ["eval", "--run_dir", tmp_path]):
        found = asked(*words)
        assert (found.config, found.hyper) == (Config(), Hyper(b1=0.8))


def test_what_warms_up_keeps_its_warm_up_where_a_run_is_read_again(tmp_path, monkeypatch):
    """Asked by use: a schedule added to the table lost it, its name being another."""
    monkeypatch.setattr(schedules, "users", lambda length: ("linear",) * (length == "warmup"))
    for schedule, kept in (("linear", 3.0), ("warmup_cosine", Config.warmup_epochs)):
        config = Config(schedule=schedule, warmup_epochs=3.0)
        folder.write_config(tmp_path, record.to_json(Request(config)))
        assert asked("--resume", tmp_path).config.warmup_epochs == kept


OWN = """
from typing import NamedTuple


class Values(NamedTuple):
    beta: float = 0.9


def chain(hyper: Values, durations):
    pass
"""


def test_values_of_a_users_own_optimizer_are_read_wherever_they_are_saved(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(OWN)
    first = asked("--optimizer", f"{file}:chain", "--beta", "0.5")
    folder.write_config(tmp_path, record.to_json(first))
    for words in (["--resume", tmp_path], ["eval", "--run_dir", tmp_path],
                  ["predict", f"--run_dir={tmp_path}", "a.png"],
                  ["--config", tmp_path / "config.json"]):
        assert asked(*words).hyper._asdict() == {"beta": 0.5}
    for words in (["--beta", "0.7", "train", "--resume", tmp_path],
                  ["train", "--beta", "0.7", "--resume", tmp_path]):
        assert asked(*words).hyper._asdict() == {"beta": 0.7}


class Net:
    """An object that no file names."""

    def __repr__(self):
        return "Net(\n  features=3)"


def test_an_object_is_written_as_such_and_gone_on_with_in_python_only(tmp_path, capsys):
    folder.write_config(tmp_path, folder.described(Request(Config(model=Net()))))
    assert json.loads((tmp_path / "config.json").read_text())["config"]["model"] == \
        "<Net( features=3)>"
    said = "model <Net( features=3)> was an object in Python: go on there, giving it again"
    with pytest.raises(RequestError, match="was an object in Python"):
        network.of(record.read(tmp_path / "config.json").request.config.model, 3)
    assert program.main(["--resume", str(tmp_path), "--dataset", "digits", "--device", "cpu"]) == 2
    assert said in capsys.readouterr().err
    record.compare(tmp_path, Request(Config(model=Net())), {"fingerprint": None})  # given again


def test_a_fraction_outside_0_to_1_is_refused():
    with pytest.raises(RequestError, match="between 0 and 1"):
        held_out("1.5")


def test_help_version_and_mistyped_words_answer_before_anything_heavy_is_imported():
    script = (
        "import sys, launch; assert launch.main(['--help']) == 0;"
        "assert launch.main(['list', 'models']) == launch.main(['list', 'augmentations']) == 0;"
        "assert launch.main(['--version']) == launch.main(['--version', 'x']) == 0;"
        "assert launch.main(['--epochs', '0']) == 2;"
        "assert launch.main(['sweep', '--sweep', 'learning_rat=1']) == 2;"
        "assert launch.main(['lr-find', '--sweep', 'learning_rate=log:0:1:3']) == 2;"
        "assert 'jax' not in sys.modules;"
        "heavy = {'flax', 'optax', 'tensorflow_datasets', 'matplotlib', 'sklearn', 'numpy',"
        "'scipy', 'pandas'}; assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^flaxmill(, not installed| \d+\.\d+\.\d+)$", done.stdout, re.M)
    told = " ".join(done.stdout.split())
    assert "--learning_rate" in told and f"{', '.join(MODELS)}, FILE.py:NAME" in told


SEARCH_WORDS = {
    "sweep": ["--sweep", "momentum=0.8,0.9"], "seeds": ["--seeds", "3"],
    "samples": ["--samples", "4"], "folds": ["--folds", "5"], "halving": ["--halving", "2"],
    "same_data_order": ["--same_data_order"], "pbt": ["--pbt"], "study": ["--study", "s.journal"],
    "sampler": ["--sampler", "tpe"], "median": ["--median"],
}


def test_a_sweeps_flags_are_its_search():
    every = [word for words in SEARCH_WORDS.values() for word in words]
    command = flags.parse(["sweep", *every, "--sweep=optimizer=sgd,adam", "--epochs=3"])
    assert command.search == Search(
        ("momentum=0.8,0.9", "optimizer=sgd,adam"), seeds=3, samples=4, folds=5,
        same_data_order=True, halving=2, pbt=True, study="s.journal", sampler="tpe", median=True,
    )
    assert command.request.config == Config(epochs=3) and command.name == "sweep"
    assert flags.parse(["sweep"]).search == flags.parse([]).search == Search()


@pytest.mark.parametrize("flag", SEARCH_WORDS)
@pytest.mark.parametrize("command", [[], ["train"], ["doctor"]], ids=str)
def test_a_sweeps_flag_elsewhere_says_where_it_belongs(command, flag, capsys):
    assert len(SEARCH_WORDS) == len(Search._fields)
    assert program.main([*command, *SEARCH_WORDS[flag]]) == 2
    said = f"--{flag} is for sweep and lr-find, not for {' '.join(command) or 'train'}."
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "export", "serve"])
@pytest.mark.parametrize("flag", [["--image_size", "64"], ["--dataset", "cifar10"],
                                  ["--validation_split", "test"], ["--labels", "x.csv"]], ids=str)
def test_a_sets_flag_where_no_set_is_read_is_refused(command, flag, tmp_path, capsys):
    """A picture is brought to the run's size, and no other."""
    assert program.main([command, "--run_dir", str(tmp_path), *flag]) == 2
    assert f"{flag[0]} has no effect with {command}, which" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["eval", "predict", "export", "serve", "report", "doctor"])
@pytest.mark.parametrize("flag", [["--flip"], ["--learning_rate", "0.1"], ["--epochs", "3"],
                                  ["--noreport"], ["--seed", "1"]], ids=str)
def test_what_shapes_a_run_is_refused_where_nothing_is_trained(command, flag, tmp_path, capsys):
    assert program.main([command, *flag]) == 2
    said = f"--{flag[0].strip('-').removeprefix('no')} has no effect with {command}"
    assert said in capsys.readouterr().err


def test_what_reads_and_judges_is_heeded_where_nothing_is_trained():
    for flag in ("--target=y", "--background=black", "--device=cpu", "--model=a.py:Net"):
        values = flags.definitions()
        values(["launch.py", flag, "--run_dir=R"])
        options.check_followed(values, "predict")


SAVED = Search(("learning_rate=0.1,0.2", "momentum=lin:0.5:0.9"), seeds=2, samples=6)


@pytest.fixture
def saved_sweep(tmp_path):
    request = Request(Config(epochs=3, optimizer="sgd"), Hyper(clip_norm=1.0),
                      Place(run_dir="where it began"))
    folder.write_config(tmp_path, folder.described(
        request, search=SAVED._asdict(), fingerprint="0"), "sweep.json")
    return tmp_path


def test_a_resumed_sweep_is_as_it_was_begun(saved_sweep):
    found = flags.parse(["sweep", "--resume", str(saved_sweep)])
    assert found.search == SAVED and isinstance(found.search.axes, tuple)
    assert found.resume == str(saved_sweep)
    assert found.request == Request(Config(epochs=3, optimizer="sgd"), Hyper(clip_norm=1.0),
                                    Place(run_dir=str(saved_sweep)))


@pytest.mark.parametrize("flag", SEARCH_WORDS)
def test_a_resumed_sweep_takes_no_other_search(saved_sweep, flag, capsys):
    assert program.main(["sweep", "--resume", str(saved_sweep), *SEARCH_WORDS[flag]]) == 2
    assert f"--{flag}: a sweep is resumed as it was begun" in capsys.readouterr().err


def test_a_sweeps_folder_is_no_runs_folder_and_has_its_place_already(saved_sweep, capsys):
    for words, said in ((["--resume"], "it holds no config.json"),
                        (["eval", "--run_dir"], "is not finished: go on with"),
                        (["sweep", "--run_dir", "here", "--resume"], "leave --run_dir out")):
        assert program.main([*words, str(saved_sweep)]) == 2
        assert said in capsys.readouterr().err


def test_a_resumed_sweep_keeps_its_search_whatever_the_recipe(saved_sweep):
    recipe = saved_sweep / "same.py"
    recipe.write_text("from engine.config import Config, Hyper\n"
                      "config = Config(epochs=3, optimizer='sgd')\nhyper = Hyper(clip_norm=1.0)\n")
    found = flags.parse(["sweep", "--resume", str(saved_sweep), "--config", str(recipe)])
    assert found.search == SAVED


@pytest.mark.parametrize("more", [{}, {"search": {"axes": [], "sed": 1}}, {"search": None}],
                         ids=str)
def test_a_sweep_json_that_is_not_ours_is_refused(tmp_path, more):
    plain = record.to_json(Request())
    (tmp_path / "sweep.json").write_text(json.dumps(plain | more))
    with pytest.raises(RequestError, match="sweep.json"):
        flags.parse(["sweep", "--resume", str(tmp_path)])


def test_a_resumed_run_does_not_join_the_job_that_it_was_begun_in(tmp_path):
    job = Place(coordinator="127.0.0.1:8476", num_processes=2, process_id=1)
    folder.write_config(tmp_path, record.to_json(Request(place=job)))
    assert asked("--resume", tmp_path).place == Place(run_dir=str(tmp_path))
    words = ("--resume", tmp_path, "--num_processes", "3", "--process_id", "0")
    assert asked(*words).place.num_processes == 3


@pytest.mark.parametrize("count", ["x", "", "-1", "1.5"])
@pytest.mark.parametrize("rank, name", [("SLURM_PROCID", "SLURM_NTASKS"),
                                        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")])
def test_a_launcher_that_tells_no_number_is_refused_in_words(rank, name, count, monkeypatch):
    monkeypatch.setenv(rank, "0")
    monkeypatch.setenv(name, count)
    with pytest.raises(RequestError, match=f"{name} is '{count}': .*, or {rank}, to run alone"):
        with processes.joining(Place()):
            pass


def test_one_process_that_a_launcher_started_is_alone(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setattr(processes.presence, "within", lambda *_: pytest.fail("it waits for others"))
    with processes.joining(Place()) as joined:
        assert joined == ""


RECIPE = """
from {module} import Values, chain
from flaxmill import Config

config, hyper = Config(optimizer={optimizer}), Values(beta=0.5)
"""


@pytest.mark.parametrize("module, optimizer", [("own_named", "__file__[:-len('recipe.py')] + "
                                                "'own_named.py:chain'"), ("own_object", "chain")])
def test_a_recipe_with_its_optimizers_own_values_is_run_and_gone_on_with(
        tmp_path, module, optimizer):
    """Its file is loaded twice where it is named: the values are of two classes, and the same."""
    (tmp_path / f"{module}.py").write_text(OWN)
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE.format(module=module, optimizer=optimizer))
    first = asked("--config", recipe)
    assert first.hyper._asdict() == {"beta": 0.5}
    folder.write_config(tmp_path, record.to_json(first))
    for words in (["--resume", tmp_path], ["eval", "--run_dir", tmp_path]):
        assert asked(*words, "--config", recipe).hyper._asdict() == {"beta": 0.5}
    more = asked("--resume", tmp_path, "--config", recipe, "--beta", "0.7")
    assert more.hyper._asdict() == {"beta": 0.7}
    assert record.read(tmp_path / "config.json").request.hyper._asdict() == {"beta": 0.5}


def test_an_optimizer_that_is_typed_follows_a_recipes_values_or_refuses_them(tmp_path):
    file, recipe = tmp_path / "own.py", tmp_path / "recipe.py"
    file.write_text(OWN.replace("beta: float = 0.9", "beta: float = 0.9\n    b2: float = 0.999"))
    words = "--config", recipe, "--optimizer", f"{file}:chain"
    recipe.write_text("from flaxmill import Hyper\nhyper = Hyper(b2=0.5)")
    assert asked(*words).hyper._asdict() == {"beta": 0.9, "b2": 0.5}
    recipe.write_text("from flaxmill import Hyper\nhyper = Hyper(b2=0.5, clip_norm=1.0)")
    with pytest.raises(RequestError, match="--clip_norm has no effect with chain, whose values"):
        asked(*words)
