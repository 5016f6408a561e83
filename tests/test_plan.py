import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT

import launch as program
from benchmarks.collectives import child, measured
from engine import flags, loop
from engine.config import Config, Hyper, durations
from engine.errors import RequestError
from engine.plan import chips, collectives, plan
from engine.plan.chips import CHIPS
from engine.plan.plan import Plan, Step, Way
from engine.state import shapes
from models.cnn import CNN

H100 = CHIPS["H100"]
IMAGE = (32, 32, 3)
PARAMETERS = 122_570
MFLOP = 25.736448  # an image, from the layers' shapes: forward and both gradients


def article(devices: int = 8, batch: int = 32, chip=H100) -> Plan:
    """The article's plan, its compiled part made up."""
    config = Config()
    model, tx = loop.prepare(config, 10, Hyper(), durations(config, 50_000))
    return Plan(chip, devices, batch, shapes(model, tx, IMAGE), data=184_800_000,
                ways=(Way(5_000_000), Way(6_000_000)), source="made up", flops=1e6 * MFLOP)


@pytest.mark.parametrize("words, said", [
    ("8H100", r"--plan 8H100: type a count, an x and a device, such as 8xH100"),
    ("8x", r"--plan 8x: type a count"),
    ("-1xH100", r"--plan -1xH100: type a count"),
    ("0xH100", r"--plan 0xH100: type 1 device or more, such as 8xH100"),
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


def test_what_nobody_reckons_is_refused(capsys):
    assert program.main(["--dataset", "digits", "--plan", "8xH100", "--microbatch", "2"]) == 2
    assert "leave --microbatch out" in capsys.readouterr().err


def test_a_plan_is_for_train():
    assert flags.parse(["--plan", "8xH100"]).plan == "8xH100" and not flags.parse([]).plan
    with pytest.raises(RequestError, match="--plan is for train, not for sweep"):
        flags.parse(["sweep", "--plan", "8xH100"])


def test_a_mistyped_device_is_answered_before_jax_is_imported():
    script = ("import sys, launch; assert launch.main(['--plan', '8xH1']) == 2; "
              "assert 'jax' not in sys.modules")
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True)


def test_rings_and_trees_by_hand():
    """8 devices, 700 MB, 100 MB/s, 1 ms a hop."""
    assert chips.ring_seconds(8, 700e6, 100e6, 1e-3) == pytest.approx(6.125 + 0.007)
    assert chips.all_reduce_seconds(8, 700e6, 100e6, 1e-3) == pytest.approx(2 * 6.132)
    tree = 2 * 8 / 100e6 + 6e-3  # three levels up, three down
    assert chips.all_reduce_seconds(8, 8, 100e6, 1e-3) == pytest.approx(tree)
    assert chips.all_reduce_seconds(1, 700e6, 100e6) == chips.ring_seconds(1, 1, 1) == 0


def test_the_slowest_link_of_the_ring_counts():
    assert chips.bandwidth(H100, 8) == 450e9 and chips.bandwidth(H100, 9) == 50e9
    one = chips.exchange_seconds(H100, 8, {"reduce-scatter": 10**9})
    three = chips.exchange_seconds(  # gathered twice
        H100, 8, {"all-gather": 2 * 10**9, "reduce-scatter": 10**9})
    assert three == pytest.approx(3 * one) and chips.exchange_seconds(H100, 8, {}) == 0


def test_computation_is_flops_at_the_assumed_efficiency_and_the_update():
    seconds = chips.compute_seconds(H100, flops=494.5e12, touched=3.35e12)
    assert seconds == pytest.approx(1 / chips.EFFICIENCY + 1)


def test_replicated_memory_is_eval_shapes_own():
    asked = article()
    own = plan.share(asked, 8, fsdp=False)
    model = CNN(10)
    params = jax.eval_shape(partial(model.init, train=False), jax.random.key(0),
                            jnp.zeros((1, *IMAGE)))["params"]
    assert own.params == sum(4 * x.size for x in jax.tree.leaves(params)) == 4 * PARAMETERS
    assert own.optimizer == 8 * PARAMETERS + 8  # Adam: two moments, two counters
    assert own.total == own.params + own.optimizer + asked.data + 5_000_000


def test_fully_sharded_memory_is_an_eighth_of_what_is_split():
    """All but kernels below 1024 elements and biases; gathered twice a step."""
    asked = article()
    own = plan.share(asked, 8, fsdp=True)
    split = 4 * (3 * 3 * 32 * 64 + 3 * 3 * 64 * 64 + 1024 * 64)
    assert own.traffic["all-gather"] == 2 * own.traffic["reduce-scatter"] == 2 * split
    assert own.params == split // 8 + 4 * PARAMETERS - split
    assert own.temporary == 6_000_000
    assert own.traffic["all-reduce"] == 4 * PARAMETERS - split + 12  # the tally's three scalars


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
    assert collectives.read(text, 8) == read


@pytest.mark.parametrize("measure, count", [(measured, 2), (child, 8)])
def test_the_paper_is_the_compiled_text(measure, count):
    """In this process of two devices and in one of eight; both ways to spread a run."""
    for way, kinds in (({}, {"all-reduce"}),
                       ({"fsdp": True}, {"all-reduce", "all-gather", "reduce-scatter"})):
        found = measure(way, count)
        assert set(found["read"]) == kinds
        assert {kind: sum(sizes) for kind, sizes in found["read"].items()} in found["reckoned"]
    assert found["params"] == 4 * PARAMETERS


@pytest.mark.parametrize("way", [{}, {"fsdp": True}])
def test_batch_statistics_are_reckoned_to_the_byte_too(normed_is_a_model, way):
    found = measured({"model": "normed"} | way, 2)
    assert {kind: sum(sizes) for kind, sizes in found["read"].items()} in found["reckoned"]


def test_a_layer_waits_for_its_statistics():
    """Their bytes are few: what takes time is the hops of two sums a layer."""
    exchange = chips.exchange_seconds(H100, 8, {"all-reduce": 1000}, waits=38)
    assert exchange == pytest.approx(
        chips.all_reduce_seconds(8, 1000, 450e9) + 38 * 6 * chips.HOP_SECONDS)
    assert chips.exchange_seconds(H100, 1, {}, waits=38) == 0
    config = Config(model="resnet20")
    model, tx = loop.prepare(config, 10, Hyper(), durations(config, 50_000))
    normed = article()._replace(state=shapes(model, tx, IMAGE))
    own = plan.share(normed, 8, fsdp=True)
    assert own.batch_stats == 8 * 688 and len(jax.tree.leaves(normed.state.batch_stats)) == 38
    assert plan.predicted(normed, 8, 32, fsdp=False).exchange > 38 * 6 * chips.HOP_SECONDS
    assert "| batch statistics | 5,504 | 5,504 | paper: shapes |" in plan.report(normed, False)
    assert "batch statistics" not in plan.report(article(), False)


def test_kernels_are_those_of_the_longest_loop():
    text = """%once.1 (p: (s32[])) -> (s32[]) {
  %a = f32[2]{0} fusion(%p), kind=kLoop
}

%step.2 (p: (s32[])) -> (s32[]) {
  %a = f32[2]{0} fusion(%p), kind=kLoop, calls=%fused
  %b = (f32[2]{0}, u8[0]{0}) custom-call(%a), custom_call_target="__cudnn$convForward"
  %c = f32[2]{0} get-tuple-element(%b), index=0
}

ENTRY %main (p: s32[]) -> s32[] {
  %d = f32[2]{0} fusion(%p), kind=kLoop
  %w = (s32[]) while(%t), condition=%cond.1, body=%once.1
  %x = (s32[]) while(%w), condition=%cond.2, body=%step.2, backend_config={}
}
"""
    assert plan.kernels(text) == 2 and plan.kernels("ENTRY %main {\n}\n") == 0


def test_flops_are_those_of_the_layers_and_not_counted_in_a_loop():
    """XLA adds the elementwise operations: under two per cent. Of a loop it counts the body once,
    which is why the gradient is counted outside any."""
    variables = article().state.variables
    flops = plan.flops_of_example(CNN(10, convolution="direct"), variables, IMAGE)
    assert 1 < flops / (1e6 * MFLOP) < 1.02

    def looped(x):
        return jax.lax.fori_loop(0, 10, lambda _, y: y @ x, x)

    cost = jax.jit(looped).lower(jnp.ones((64, 64))).cost_analysis()
    assert cost["flops"] == pytest.approx(2 * 64**3, rel=0.01)


def test_the_table_goes_up_to_the_asked_count():
    assert plan.counts(1) == [1] and plan.counts(8) == [1, 2, 4, 8]
    assert plan.counts(1000) == [2**n for n in range(10)] + [1000]
    assert [s.batch for s in plan.growing(article(), fsdp=False)] == [4, 8, 16, 32]
    assert [s.devices for s in plan.shared(article(12, 24), fsdp=False)] == [1, 2, 4, 8, 12]


def test_communication_overtakes_a_small_network_at_once():
    steps = plan.shared(article(), fsdp=False)
    assert steps[0].exchange == 0 and plan.overtaken(steps) == 2
    assert plan.overtaken([Step(1, 8, 2.0, 0.0), Step(2, 8, 1.0, 1.0)]) is None
    assert Step(2, 8, 1.0, 1.0).rate == 4


def test_a_plan_too_large_says_so():
    text = plan.report(article()._replace(data=61 * 10**9), fsdp=False)
    assert "| fits 60 of 80 GB | no | no |" in text


def test_what_was_compiled_stands_beside_the_reckoning():
    """In a row of its own only where it differs."""
    plain, split = article(), {"all-reduce": 6_964, "all-gather": 966_656,
                               "reduce-scatter": 483_328}
    same = plan.report(plain._replace(ways=(Way(1, {"all-reduce": 490_292}), Way(1, split))), False)
    other = plan.report(plain._replace(ways=(Way(1, {"all-reduce": 490_293}), Way(1, split))), True)
    assert "| all-reduce, a step | 490,292 | 6,964 | paper: shapes; made up, the same |" in same
    assert "| 490,292 | 6,964 | paper: shapes |" in other
    assert "| all-reduce, a step | 490,293 | 6,964 | made up |" in other


def test_a_plan_is_printed_and_no_run_begun(launch, tmp_path):
    done = launch("--dataset", "digits", "--image_size", "18", "--plan", "8xv5e", "--batch_size",
                  "64", "--nocompile_cache")
    assert done.returncode == 0, done.stderr
    assert "plan: 8 × v5e, data-parallel; a batch of 64, 8 examples on each device" in done.stdout
    assert "compiled for this machine's CPU (v5e is no GPU)" in done.stdout
    assert "from 2 devices on" in done.stdout and not list(tmp_path.iterdir())
