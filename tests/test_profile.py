import gzip
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from engine.errors import RequestError
from engine.programs import profile


def test_a_trace_opens_and_its_dearest_operation_is_the_product(tmp_path):
    @jax.jit
    def work(x):
        return jax.lax.fori_loop(0, 20, lambda _, y: jnp.tanh(y @ x), x)

    x = jnp.eye(400)
    compiled = work.lower(x).compile()
    path = profile.trace(tmp_path, lambda: compiled(x))
    found = profile.operations(path, compiled.as_text())
    assert "dot_general" in found[0].source and found[0].seconds > found[1].seconds > 0
    assert not any(operation.name.startswith("while") for operation in found)
    text = profile.table(found, steps=20)
    assert "dot_general" in text.splitlines()[1] and "ms a step" in text
    perfetto = path.parent / "perfetto_trace.json.gz"
    assert json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]


HLO = """
  %loop_add_fusion.8 = f32[64]{0} fusion(%a), metadata={op_name="jit(segment)/while/body/adam/add"}
  ROOT %cudnn-conv.1 = f32[8]{0} custom-call(%b), metadata={op_name="jit(segment)/while/body/conv"}
"""
# As CUPTI's collector in XLA writes it: a plane a GPU, a line a stream named by what it did, events
# named by their kernels; one of a graph has the graph in the place of its operation.
TRACE = """
planes { name: "/host:CPU" lines { name: "main" timestamp_ns: 0
  events { metadata_id: 1 offset_ps: 0 duration_ps: 9000000000 } }
  event_metadata { key: 1 value { id: 1 name: "cuGraphLaunch" } } }
planes { name: "/device:GPU:0"
  lines { id: 13 name: "Stream #13(Compute)" timestamp_ns: 1000
    events { metadata_id: 1 offset_ps: 0 duration_ps: 2000000
             stats { metadata_id: 1 str_value: "command_buffer_1" } }
    events { metadata_id: 2 offset_ps: 4000000 duration_ps: 5000000
             stats { metadata_id: 1 str_value: "cudnn-conv.1" } }
    events { metadata_id: 1 offset_ps: 18000000 duration_ps: 2000000 } }
  lines { id: 14 name: "Stream #14(MemcpyD2D)" timestamp_ns: 1000
    events { metadata_id: 3 offset_ps: 8000000 duration_ps: 3000000 } }
  lines { id: 15 name: "XLA Modules" timestamp_ns: 1000
    events { metadata_id: 4 offset_ps: 0 duration_ps: 90000000 } }
  event_metadata { key: 1 value { id: 1 name: "loop_add_fusion_8" } }
  event_metadata { key: 2 value { id: 2 name: "sm90_xmma_dgrad_implicit_gemm" } }
  event_metadata { key: 3 value { id: 3 name: "MemcpyD2D" } }
  event_metadata { key: 4 value { id: 4 name: "jit_segment" } }
  stat_metadata { key: 1 value { id: 1 name: "hlo_op" } } }
planes { name: "/device:GPU:1" lines { name: "Stream #13(Compute)"
  events { metadata_id: 1 offset_ps: 0 duration_ps: 70000000 } }
  event_metadata { key: 1 value { id: 1 name: "loop_add_fusion_8" } } }
"""


def test_a_gpus_kernels_are_read_from_its_streams(tmp_path):
    """Of two steps: 9 of 20 µs have nothing, where streams overlap counts once."""
    path = tmp_path / "trace.xplane.pb"
    path.write_bytes(jax.profiler.ProfileData.text_proto_to_serialized_xspace(TRACE))
    ran = profile.kernels(path, HLO)
    assert [(name, count, source) for name, _, source, count in ran.found] == [
        ("sm90_xmma_dgrad_implicit_gemm", 1, "conv"), ("loop_add_fusion_8", 2, "adam/add"),
        ("MemcpyD2D", 1, ""),
    ]
    np.testing.assert_allclose([kernel.seconds for kernel in ran.found], [5e-6, 4e-6, 3e-6])
    np.testing.assert_allclose([ran.busy, ran.seconds], [11e-6, 20e-6])
    first, *_, last = profile.kernel_table(ran, 2).splitlines()[1:]
    assert first.split()[:4] == ["2.5", "41.7%", "0.5", "sm90_xmma_dgrad_implicit_gemm"]
    assert last.startswith("2.0 kernels and copies a step, busy for 5.5 of 10.0 µs: idle for 45%")


def test_streams_without_kernels_are_told(tmp_path):
    path = tmp_path / "trace.xplane.pb"
    path.write_bytes(jax.profiler.ProfileData.text_proto_to_serialized_xspace(""))
    assert "streams are empty" in profile.kernel_table(profile.kernels(path, HLO), 20)


def test_a_run_that_is_done_has_no_updates_to_trace(tmp_path):
    done, state = SimpleNamespace(epoch=5, total=10), SimpleNamespace(step=10)
    with pytest.raises(RequestError, match="made all 10 of its own: type more --epochs"):
        profile.told(SimpleNamespace(lengths=done), None, None, state, tmp_path)
