import dataclasses
import json
import subprocess
import sys

import pytest
from conftest import ROOT

import launch as program
from engine import flags, folder
from engine.config import HYPER_HELP, Config, Hyper, durations, held_out, to_json
from engine.errors import RequestError
from engine.sweep.space import SEARCH_HELP, Search
from models import MODELS


def test_epochs_become_steps_and_the_last_batch_counts():
    lengths = durations(Config(epochs=10, batch_size=32, warmup_epochs=0.5), 50_000)
    assert lengths == (1563, 782, 15_630)


def test_flags_override_a_recipe_and_leave_the_rest():
    request = flags.parse(["--config", str(ROOT / "configs/article.py"), "--epochs", "3",
                           "--learning_rate=0.01", "--clip_norm", "1"])
    assert request.config == dataclasses.replace(Config(), epochs=3, shuffle="once")
    assert request.hyper == Hyper(learning_rate=0.01, clip_norm=1.0)


def test_every_choice_is_there():
    choices = {f.name: f.metadata["choices"] for f in dataclasses.fields(Config)}
    assert set(choices["model"]) == set(MODELS)
    assert set(HYPER_HELP) == set(Hyper._fields)
    assert set(SEARCH_HELP) == set(Search._fields)


@pytest.mark.parametrize("text, value", [("0.1", 0.1), ("2/5", (2, 5)), ("test", None),
                                         ("a/b", None), ("train", None)])
def test_validation_split_is_a_fraction_a_fold_or_a_name(text, value):
    assert held_out(Config(validation_split=text)) == value


@pytest.mark.parametrize(
    "words, said",
    [
        (["--modle", "cnn"], "model"),
        (["--model", "cnm"], "did you mean cnn"),
        (["--optimizer", "adamm"], "did you mean adam"),
        (["--schedule", "cosin"], "did you mean cosine"),
        (["--device", "cuda"], "did you mean"),
        (["--epochs", "0"], "--epochs 0: type 1 or more"),
        (["--epochs", "ten"], "ten"),
        (["--batch_size", "-4"], "--batch_size -4"),
        (["--batch_size", "32", "--microbatch", "5"], "does not divide"),
        (["--learning_rate", "nan"], "--learning_rate nan"),
        (["--label_smoothing", "1"], "below 1"),
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
        (["sweep", "--checkpoint", "best"], "--checkpoint is for eval and predict, not for sweep."),
        (["--json"], "--json is for doctor, not for train."),
        (["eval", "--run_dir", "here", "--checkpoint", "bets"], "did you mean best"),
        (["sweeep"], "did you mean sweep"),
        (["lr_find"], "did you mean lr-find"),
        (["sweep", "learning_rate=1,2"], "sweep takes flags only, but got 'learning_rate=1,2'"),
        (["sweep", "--sample", "3"], "Did you mean: samples"),
        (["sweep", "--seeds", "many"], "many"),
        (["sweep", "--resume", "nowhere"], "no run in nowhere: it holds no sweep.json"),
        (["sweep", "--resume", "there", "--run_dir", "here"], "no run in there"),
    ],
)
def test_a_bad_request_is_one_clear_line_and_status_2(words, said, capsys):
    assert program.main(words) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error


def test_a_fraction_outside_0_to_1_is_refused():
    with pytest.raises(RequestError, match="between 0 and 1"):
        held_out(Config(validation_split="1.5"))


def test_help_imports_nothing_heavy():
    script = (
        "import sys, launch; assert launch.main(['--help']) == 0; "
        "heavy = {'jax', 'flax', 'tensorflow_datasets', 'matplotlib', 'sklearn', 'numpy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)


SEARCH_WORDS = {
    "sweep": ["--sweep", "momentum=0.8,0.9"], "seeds": ["--seeds", "3"],
    "samples": ["--samples", "4"], "folds": ["--folds", "5"], "halving": ["--halving", "2"],
    "same_data_order": ["--same_data_order"], "pbt": ["--pbt"],
}


def test_a_sweeps_flags_are_its_search():
    every = [word for words in SEARCH_WORDS.values() for word in words]
    request = flags.parse(["sweep", *every, "--sweep=optimizer=sgd,adam", "--epochs=3"])
    assert request.search == Search(
        ("momentum=0.8,0.9", "optimizer=sgd,adam"), seeds=3, samples=4, folds=5,
        same_data_order=True, halving=2, pbt=True,
    )
    assert request.config == Config(epochs=3) and request.command == "sweep"
    assert flags.parse(["sweep"]).search == flags.parse([]).search == Search()


@pytest.mark.parametrize("flag", SEARCH_WORDS)
@pytest.mark.parametrize("command", [[], ["train"], ["doctor"]], ids=str)
def test_a_sweeps_flag_elsewhere_says_what_to_type(command, flag, capsys):
    assert len(SEARCH_WORDS) == len(Search._fields)
    assert program.main([*command, *SEARCH_WORDS[flag]]) == 2
    said = f"--{flag} is for sweeps: type python launch.py sweep --{flag} ..."
    assert said in capsys.readouterr().err


SAVED = Search(("learning_rate=0.1,0.2", "momentum=lin:0.5:0.9"), seeds=2, samples=6)


@pytest.fixture
def saved_sweep(tmp_path):
    config = Config(epochs=3, optimizer="sgd", run_dir="where it began")
    folder.write_config(tmp_path, folder.described(
        config, Hyper(clip_norm=1.0), search=SAVED._asdict(), fingerprint="0"
    ), "sweep.json")
    return tmp_path


def test_a_resumed_sweep_is_as_it_was_begun(saved_sweep):
    request = flags.parse(["sweep", "--resume", str(saved_sweep)])
    assert request.search == SAVED and isinstance(request.search.axes, tuple)
    assert request.config == Config(epochs=3, optimizer="sgd", run_dir=str(saved_sweep))
    assert request.hyper == Hyper(clip_norm=1.0) and request.resume == str(saved_sweep)


@pytest.mark.parametrize("flag", SEARCH_WORDS)
def test_a_resumed_sweep_takes_no_other_search(saved_sweep, flag, capsys):
    assert program.main(["sweep", "--resume", str(saved_sweep), *SEARCH_WORDS[flag]]) == 2
    assert f"--{flag}: a sweep is resumed as it was begun" in capsys.readouterr().err


def test_a_sweeps_folder_is_no_runs_folder_and_has_its_place_already(saved_sweep, capsys):
    for words, said in ((["--resume"], "it holds no config.json"),
                        (["eval", "--run_dir"], "it holds no config.json"),
                        (["sweep", "--run_dir", "here", "--resume"], "leave --run_dir out")):
        assert program.main([*words, str(saved_sweep)]) == 2
        assert said in capsys.readouterr().err


def test_a_resumed_sweep_keeps_its_search_whatever_the_recipe(saved_sweep):
    recipe = saved_sweep / "same.py"
    recipe.write_text("from engine.config import Config, Hyper\n"
                      "config = Config(epochs=3, optimizer='sgd')\nhyper = Hyper(clip_norm=1.0)\n")
    try:
        request = flags.parse(["sweep", "--resume", str(saved_sweep), "--config", str(recipe)])
    except RequestError:
        return
    assert request.search == SAVED


@pytest.mark.parametrize("more", [{}, {"search": {"axes": [], "sed": 1}}, {"search": None}],
                         ids=str)
def test_a_sweep_json_that_is_not_ours_is_refused(tmp_path, more):
    (tmp_path / "sweep.json").write_text(json.dumps(to_json(Config(), Hyper()) | more))
    with pytest.raises(RequestError, match="sweep.json"):
        flags.parse(["sweep", "--resume", str(tmp_path)])


def test_a_mistyped_axis_is_answered_before_jax_is_imported():
    script = (
        "import sys, launch; assert launch.main(['sweep', '--sweep', 'learning_rat=1']) == 2; "
        "assert launch.main(['lr-find', '--sweep', 'learning_rate=log:0:1:3']) == 2; "
        "heavy = {'jax', 'flax', 'scipy', 'matplotlib', 'sklearn', 'numpy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)


def test_a_resumed_run_does_not_join_the_job_that_it_was_begun_in(tmp_path):
    job = Config(coordinator="127.0.0.1:8476", num_processes=2, process_id=1)
    folder.write_config(tmp_path, to_json(job, Hyper()))
    config = flags.parse(["--resume", str(tmp_path)]).config
    assert config == Config(run_dir=str(tmp_path))
    words = ["--resume", str(tmp_path), "--num_processes", "3", "--process_id", "0"]
    assert flags.parse(words).config.num_processes == 3
