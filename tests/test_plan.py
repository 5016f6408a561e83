import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT
from samples import Tiny, data_of, random_split

import launch as program
from engine.command import flags
from engine.config import Config, Hyper
from engine.errors import RequestError
from engine.learners.chosen import learner_of
from engine.plan import chips, plan
from engine.plan.chips import CHIPS
from engine.plan.plan import Plan, Way
from engine.request import Request
from models.cnn import CNN

H100 = CHIPS["H100"]
IMAGE = (32, 32, 3)
PARAMETERS = 122_570
SPLIT = 4 * (3 * 3 * 32 * 64 + 3 * 3 * 64 * 64 + 1024 * 64)  # bytes: all but the small and biases


def article(model: str = "cnn") -> Plan:
    """The article's plan on eight, its compiled part made up."""
    data = data_of(random_split(8, side=32), random_split(8, side=32), 10)
    data = jax.tree.map(lambda x: jnp.broadcast_to(x, (8, *IMAGE)) if x.ndim == 4 else x, data)
    state = jax.eval_shape(learner_of(Config(model=model), 10).create, Hyper(), jax.random.key(0),
                           data)
    ways = [Way(5_000_000, {"all-reduce": 490_292}, 50),
            Way(6_000_000, {"all-reduce": 6_964, "all-gather": 966_656}, 60)]
    return Plan(H100, 8, 32, state, 184_800_000, ways, "made up")


@pytest.mark.parametrize("words, said", [
    ("8H100", r"--plan 8H100: type a count, an x and a device, such as 8xH100"),
    ("8x", r"--plan 8x: type a count"),
    ("-1xH100", r"--plan -1xH100: type a count"),
    ("0xH100", r"--plan 0xH100: type a count, an x and a device, such as 8xH100"),
    ("8xH1000", r"unknown device of --plan 'H1000': did you mean H100"),
    ("8xquartz", r"'quartz': choose from A100, B200, H100, H200, L4, T4, v5e"),
])
def test_what_cant_be_planned_is_said(words, said, capsys):
    assert program.main(["--plan", words]) == 2
    with pytest.raises(RequestError, match=said):
        chips.asked(words)
    assert words.split("x")[-1] in capsys.readouterr().err


def test_a_count_and_a_chip_are_read_in_any_case():
    assert chips.asked("1000xh100") == (1000, H100) and chips.asked("4xV5E")[1].name == "v5e"


def test_a_batch_that_the_devices_cant_share_is_refused(capsys):
    assert program.main(["--dataset", "digits", "--plan", "7xH100"]) == 2
    assert "7 devices can't share it: type 28 or 35" in capsys.readouterr().err


def test_microbatches_are_refused(capsys):
    with pytest.raises(RequestError, match="leave --microbatch out"):
        plan.settled(Request(Config(dataset="digits", microbatch=2)), 2, H100)


def test_a_plan_is_for_train():
    assert flags.parse(["--plan", "8xH100"]).plan == "8xH100" and not flags.parse([]).plan
    with pytest.raises(RequestError, match="--plan is for train, not for sweep"):
        flags.parse(["sweep", "--plan", "8xH100"])


def test_a_mistyped_device_is_answered_before_jax_is_imported():
    script = ("import sys, launch; assert launch.main(['--plan', '8xH1']) == 2; "
              "assert 'jax' not in sys.modules")
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True,
                   timeout=300)


def test_what_every_device_holds_is_the_shapes_own():
    state = article().state
    params = jax.eval_shape(partial(CNN(10).init, train=False), jax.random.key(0),
                            jnp.zeros((1, *IMAGE)))["params"]
    whole = sum(4 * x.size for x in jax.tree.leaves(params))
    assert plan.held(state.params, 8, fsdp=False) == whole == 4 * PARAMETERS
    assert plan.held(state.opt_state, 8, fsdp=False) == 8 * PARAMETERS + 8  # two moments, counters
    assert plan.held(state.params, 8, fsdp=True) == SPLIT // 8 + 4 * PARAMETERS - SPLIT


@pytest.mark.parametrize("text, read", [
    ("  %a.1 = f32[3,32]{1,0:T(8,128)} all-reduce(%x), channel_id=1", {"all-reduce": [384]}),
    ("  ROOT %a = (f32[2]{0}, /*index=1*/bf16[]) all-reduce(%x, %y)", {"all-reduce": [10]}),
    ("  %a = f32[64]{0} all-gather(%x)\n  %b = pred[8]{0} all-to-all(%a)",
     {"all-gather": [256], "all-to-all": [8]}),
    ("  %a = (f32[8]{0}, f32[64]{0}) all-gather-start(%x)", {"all-gather": [256]}),
    ("  %a = f32[64]{0} all-gather-done(%x)", {}),
    ("  %a = f32[64]{0} all-reduce-start(%x)", {"all-reduce": [256]}),
    ("  %a = ((f32[64]{0}), f32[64]{0}) all-reduce-start(%x)", {"all-reduce": [256]}),
    ("  %r = f32[8]{0} reduce-scatter(%x)", {"reduce-scatter": [256]}),
    ("  %f = f32[8]{0} fusion(%x), metadata={op_name=\"all-reduce(\"}", {}),
])
def test_collectives_of_a_text_of_eight_devices_are_read(text, read):
    assert plan.exchanged(text, 8) == read


def test_a_step_is_the_longest_loop():
    text = """%once.1 (p: (s32[])) -> (s32[]) {
  %a = f32[2]{0} fusion(%p), kind=kLoop
}

%step.2 (p: (s32[])) -> (s32[]) {
  %a = f32[2]{0} fusion(%p), kind=kLoop, calls=%fused
  %b = f32[2]{0} all-reduce(%a), channel_id=1
}

ENTRY %main (p: s32[]) -> s32[] {
  %d = f32[4]{0} all-reduce(%p), channel_id=2
  %w = (s32[]) while(%t), condition=%cond.1, body=%once.1
  %x = (s32[]) while(%w), condition=%cond.2, body=%step.2, backend_config={}
}
"""
    step = plan.step(text)
    assert plan.exchanged(step, 8) == {"all-reduce": [8]} and step.count("fusion(") == 1
    assert plan.step("ENTRY %main {\n}\n") == "ENTRY %main {\n}\n"


@pytest.mark.slow
def test_compiling_tells_what_devices_send_each_other():
    """For the two CPU devices of this process: the gradient and the tally's three scalars, once; of
    what is split, the parameters gathered (twice, where the compiler leaves it so)."""
    config = Config(model=Tiny, dataset="digits", image_size=8, batch_size=64,
                    optimizer="sgd")
    found = plan.settled(Request(config), 2, CHIPS["v5e"])
    whole, split = 4 * (8 * 8 * 16 + 16 + 16 * 10 + 10), 4 * 8 * 8 * 16
    replicated, sharded = (way.traffic for way in found.ways)
    assert replicated == {"all-reduce": whole + 12}
    assert sharded["all-gather"] in (split, 2 * split)
    assert sharded["all-reduce"] + sharded.get("reduce-scatter", 0) == whole + 12
    assert found.source == "compiled for 2 devices of this machine's CPU (v5e is no GPU)"
    assert [way.kernels for way in found.ways] == [0, 0] and found.ways[0].temporary > 0
    assert found.data == 1437 * (8 * 8 + 4) + 4 * 1437  # pixels and labels, then rows


def test_a_plan_is_a_table():
    text = plan.report(article())
    assert text.startswith("plan: 8 × H100; a batch of 32, 4 examples on each device; 122,570 p")
    assert "\nmade up; state and data by their shapes\n" in text
    assert f"| parameters | 490,280 | {SPLIT // 8 + 490_280 - SPLIT:,} |" in text
    total = 4 * PARAMETERS + 8 * PARAMETERS + 8 + 184_800_000 + 5_000_000
    assert f"| in all | {total:,} |" in text
    assert "| fits 60 of 80 GB | yes | yes |" in text
    assert "| all-reduce, a step | 490,292 | 6,964 |\n| all-gather, a step | 0 | 966,656 |" in text
    assert "reduce-scatter" not in text and "batch statistics" not in text
    assert "| kernels, a step (not bytes) | 50 | 60 |" in text
    assert "| batch statistics | 5,504 | 5,504 |" in plan.report(article("resnet20"))


def test_a_plan_too_large_says_so():
    text = plan.report(article()._replace(data=61 * 10**9))
    assert "| fits 60 of 80 GB | no | no |" in text


@pytest.mark.slow
def test_a_plan_is_printed_and_no_run_begun(launch, tmp_path):
    done = launch("--dataset", "digits", "--image_size", "18", "--plan", "8xv5e", "--batch_size",
                  "64", "--nocompile_cache")
    assert done.returncode == 0, done.stderr
    assert "plan: 8 × v5e; a batch of 64, 8 examples on each device" in done.stdout
    assert "compiled for 8 devices of this machine's CPU (v5e is no GPU)" in done.stdout
    assert "| all-reduce, a step | 242,228 |" in done.stdout and not list(tmp_path.iterdir())
