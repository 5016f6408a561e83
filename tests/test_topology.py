"""Programs compiled for GPUs that aren't here, by XLA's own compiler for them."""

import re
from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding
from samples import data_of, random_split

from engine.config import Config, Hyper
from engine.devices import memory, mesh
from engine.devices.memory import nbytes
from engine.learners.chosen import learner_of
from engine.plan import plan, topology
from engine.plan.chips import CHIPS
from engine.plan.kernels import kernels
from engine.programs import graphs
from engine.request import Request

H100 = CHIPS["H100"]
FOUR, MISSING = topology.devices(H100, 4)
needs_the_compiler = pytest.mark.skipif(
    not FOUR, reason=f"XLA's compiler for GPUs isn't here: {MISSING}"
)
LAYERS, WIDTH = 6, 4096
SPEEDY = {"xla_backend_optimization_level": "3"}  # which this session lowers


class Wide(nn.Module):
    """Layers of 67 MB, more than XLA joins into one exchange."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.Dense(WIDTH)(x.reshape(x.shape[0], -1))
        for _ in range(LAYERS):
            x = nn.Dense(WIDTH)(nn.relu(x))
        return nn.Dense(self.num_classes)(x)


@pytest.fixture(autouse=True)
def uncached():
    """As for `--plan`: what was compiled for elsewhere can't be read."""
    was = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", was)


def compiled(devices, config: Config, fsdp: bool = False, few: bool = False, **options: str):
    """Training with that many devices, and the parameters' bytes; in `few` kernels on data such as
    the article's."""
    spread = mesh.spread(devices, fsdp)
    whole = mesh.everywhere(spread.mesh, devices[0])
    data, hyper = data_of(random_split(256), random_split(8)), Hyper()
    if few:
        split = random_split(5120, classes=10, side=32)
        pictures = split._replace(inputs=np.repeat(split.inputs, 3, axis=3))
        data = data_of(pictures, pictures, 10)
    learner = learner_of(config, data.num_outputs, spread).on("gpu" if few else "cpu")
    state = jax.eval_shape(learner.create, hyper, jax.random.key(0), data)
    root = mesh.blank(jax.random.key(0), whole)
    program = jax.jit(learner.segment).lower(
        hyper=mesh.blank(jax.tree.map(np.float32, hyper), whole), root=root, order=root,
        train=mesh.blank(data.train, whole), count=np.int32(1),
        state=mesh.blank(state, spread.shardings(state, devices[0])),
    ).compile(SPEEDY | options)
    return program, nbytes(state.params)


def test_what_is_no_gpu_and_a_missing_compiler_are_told(monkeypatch):
    assert topology.devices(CHIPS["v5e"], 4) == ([], "v5e is no GPU")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert topology.devices(H100, 4) == ([], 'for GPUs, pip install -e ".[plan]"')


@needs_the_compiler
@pytest.mark.parametrize("chip", [chip for chip in CHIPS.values() if chip.multiprocessors],
                         ids=lambda chip: chip.name)
def test_every_gpu_has_a_compiler(chip):
    (device,), _ = topology.devices(chip, 1)
    x = jax.ShapeDtypeStruct((64, 64), jnp.float32, sharding=SingleDeviceSharding(device))
    assert device.platform == "gpu" and "fusion" in jax.jit(
        lambda x: jnp.tanh(x @ x)).lower(x).compile().as_text()


@needs_the_compiler
def test_many_hosts_are_of_equal_size():
    for count, hosts in ((8, 1), (12, 2), (1000, 125), (7, 1), (11, 11)):
        found, _ = topology.devices(H100, count)
        assert len(found) == count and len({x.process_index for x in found}) == hosts


@needs_the_compiler
def test_the_articles_step_on_eight_gpus_sums_the_gradient_and_the_tally():
    config = Config(dataset="digits", image_size=32, batch_size=64, convolution="direct")
    found = plan.settled(Request(config), 8, H100)
    assert found.source == "compiled for 8 × H100 by XLA"
    assert all(way.temporary > 0 and 40 < way.kernels < 80 for way in found.ways)
    whole = nbytes(found.state.params) + 8  # loss and right ones; a full batch has no count to sum
    replicated, sharded = (way.traffic for way in found.ways)
    assert replicated == {"all-reduce": whole}
    assert sharded["all-reduce"] + sharded["reduce-scatter"] == whole
    assert sharded["all-gather"] == 2 * sharded["reduce-scatter"]  # forward and again backward


@needs_the_compiler
@pytest.mark.parametrize("convolution, most", [("product", 43), ("direct", 41)])
def test_the_articles_step_on_one_gpu_is_few_kernels(convolution, most):
    """Of 55 and 50; nothing of it is a scatter, and the sum of the first bias's gradient doesn't
    compute what it sums."""
    config = Config(batch_size=32, convolution=convolution, shuffle="once")
    program, _ = compiled(FOUR[:1], config, few=True)
    found = kernels(plan.step(program.as_text()))
    assert len(found) <= most
    assert not any("scatter" in kernel.name for kernel in found)
    if convolution == "product":
        assert "f32[32,15,15,32]" in [kernel.shape for kernel in found
                                      if kernel.kind == "fusion kLoop"]


@needs_the_compiler
def test_fully_sharded_parameters_are_whole_layer_by_layer_where_memory_is_short():
    """And ahead of their use where it is ample: the compiler weighs that."""
    config = Config(model=Wide, batch_size=32, optimizer="sgd")
    few, _ = topology.devices(H100._replace(memory=3e8), 4)
    short, params = compiled(few, config, fsdp=True)
    ample, _ = compiled(FOUR, config, fsdp=True)
    assert memory.needed(short).temp < params / 2 < params < memory.needed(ample).temp
    assert memory.needed(short).arguments < 0.3 * params


@needs_the_compiler
def test_predictions_gather_layer_by_layer_too():
    few, _ = topology.devices(H100._replace(memory=3e8), 4)
    spread = mesh.spread(few, fsdp=True)
    learner = learner_of(Config(model=Wide, batch_size=32), 4, spread)
    variables = jax.eval_shape(learner.network.init, jax.random.key(0), jnp.zeros((1, 18, 18, 1)))
    split = mesh.blank(variables, spread.shardings(variables))
    images = jax.ShapeDtypeStruct((640, 18, 18, 1), jnp.uint8,
                                  sharding=mesh.everywhere(spread.mesh, few[0]))
    program = jax.jit(learner.predict).lower(split, images).compile()
    assert memory.needed(program).temp < nbytes(variables) / 2


@needs_the_compiler
@pytest.mark.parametrize("fsdp, kinds", [
    (False, {"all-reduce"}), (True, {"all-reduce", "all-gather", "reduce-scatter"}),
])
def test_gpus_exchange_nothing_unexpected(fsdp, kinds):
    program, _ = compiled(FOUR, Config(batch_size=32, convolution="direct"), fsdp)
    text = program.as_text()
    assert set(plan.exchanged(text, 4)) == kinds
    assert not re.search(r"all-to-all|collective-permute", text)


@needs_the_compiler
def test_a_gpu_gets_xlas_own_convolution():
    """Three forward, three for the kernels' gradients, two for the inputs'; of a CPU's patches
    none."""
    def convolutions(formulation: str) -> int:
        program, _ = compiled(FOUR[:1], Config(batch_size=32, convolution=formulation))
        return program.as_text().count('custom_call_target="__cudnn$conv')

    assert [convolutions(way) for way in ("auto", "direct", "product")] == [8, 8, 0]


@needs_the_compiler
def test_pooling_on_a_gpu_has_no_gradient_by_scatter():
    """Which adds in any order, and so gives other bits each time."""
    text = compiled(FOUR[:1], Config(batch_size=32))[0].as_text()
    scatters = re.findall(r" scatter\(.*op_name=\"[^\"]*/([^\"]*)\"", text)
    assert all("scatter-add" in name for name in scatters) and len(scatters) == 1  # the loss's
    assert not re.search(r"select-and-scatter|reduce-window", text)


def content(text: str, body: str) -> Counter[str]:
    """What a loop's body computes, by fusions and calls, names and places aside."""

    def lines(name: str) -> str:
        found = re.search(rf"^%?{re.escape(name)} .*?^}}", text, re.MULTILINE | re.DOTALL)[0]
        return re.sub(r", (metadata|frontend_attributes)={[^}]*}|/\*.*?\*/", "", found)

    def computed(name: str) -> str:
        names = {}
        inlined = re.sub(r"(?<=calls=|apply=)%?([\w.-]+)", lambda m: f"<{computed(m[1])}>",
                         lines(name))
        unnamed = re.sub(r"[\w.]+(?=: [a-z])", "", inlined)
        return re.sub(r"%[\w.#-]+", lambda m: names.setdefault(m[0], f"%{len(names)}"), unnamed)

    found = re.findall(r"= (.*?) (?:fusion|custom-call)\(.*?(?:calls=%?|target=\")([\w.$-]+)",
                       lines(body))
    return Counter(f"{shape} {name if '$' in name else computed(name)}" for shape, name in found)


@needs_the_compiler
@pytest.mark.parametrize("formulation", ["direct", "product"])
def test_a_segment_is_loops_of_known_trips_and_one_graph_where_that_is_asked_for(
    tmp_path, formulation
):
    """The loop of known trips and the one of what is over have the same kernels, so that two
    segments equal one; XLA's own list of what it launches has all of it in a command buffer."""
    config = Config(batch_size=32, convolution=formulation)
    program, _ = compiled(FOUR[:1], config, few=True, xla_dump_to=str(tmp_path),
                          **graphs.OPTIONS["loops"])
    text = program.as_text()
    assert re.findall(r'known_trip_count":{"n":"(\d+)"', text) == ["32"]
    bodies = set(re.findall(r" while\(.*body=%?([\w.-]+)", text))
    one, other, blocks = sorted((content(text, name) for name in bodies), key=Counter.total)[::-1]
    assert one == other and one.total() > 15 > blocks.total()
    (file,) = tmp_path.glob("*.thunk_sequence_after_thunk_passes.txt")
    launched = re.findall(r"^( *)\d+: (k\w+)", file.read_text(), re.MULTILINE)
    assert [kind for indent, kind in launched if not indent] == ["kCommandBuffer"]
    inside = [kind for indent, kind in launched if indent]
    assert inside.count("kWhile") == 3
    assert inside.count("kConvolution") == (16 if formulation == "direct" else 0)
