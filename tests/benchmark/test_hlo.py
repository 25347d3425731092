"""Bytes, messages and cycles read from texts of optimised HLO."""

import pytest

from cfi_jax.benchmark.harness import collectives, hlo


def module(entry, *others):
  """The text of a module with the computations `others` and the lines of the entry."""
  return "\n".join(["HloModule m", *others, "ENTRY %main (p: f32[8]) -> f32[8] {", entry, "}"])


def read(*texts):
  """The operations of a module by name."""
  return {one.name: one for one in hlo.operations(module(*texts))}


@pytest.mark.parametrize(
  "shape, plain, padded",
  [
    ("f32[3,5]{1,0}", 60, 60),
    ("f32[3,5]{1,0:T(8,128)}", 60, 8 * 128 * 4),
    ("bf16[2,16,256,32]{3,0,2,1:T(8,128)(2,1)}", 2 * 16 * 256 * 64, 8 * 16 * 256 * 128 * 2),
    ("bf16[2,16,256,32]{2,3,1,0:T(8,128)(2,1)}", 2 * 16 * 256 * 64, 2 * 16 * 256 * 64),
    ("f32[32]{0:T(128)}", 128, 512),
    ("pred[]", 1, 1),
    ("(f32[2]{0}, /*index=1*/(s8[3]{0}, token[]))", 11, 11),
  ],
)
def test_an_array_has_its_bytes_and_those_of_its_tiles(shape, plain, padded):
  found = hlo.arrays(shape)
  assert sum(one.plain for one in found) == plain
  assert sum(one.padded for one in found) == padded


def test_an_operation_reads_its_operands_and_writes_its_result():
  found = read(
    """
  %p = f32[8]{0} parameter(0)
  %q = bf16[4,4]{1,0:T(8,128)(2,1)} parameter(1)
  %b = f32[2,4]{1,0} bitcast(%p)
  %sum = (f32[8]{0}, f32[2]{0}) custom-call(%b, %q, %q), custom_call_target="conv", \
metadata={op_name="jit(f)/conv"}, backend_config={"estimated_cycles":"40"}
  %one = f32[2]{0} get-tuple-element(%sum), index=1
  ROOT %out = f32[2]{0} copy(%one)
"""
  )
  assert list(found) == ["sum", "out"]
  call = found["sum"]
  assert (call.bytes, call.padded) == (32 + 32 + 32 + 8, 32 + 8 * 128 * 2 + 32 + 8)
  assert (call.kind, call.cycles, call.source) == ("conv", 40, "jit(f)/conv")
  assert hlo.copies(found.values()) == [found["out"]] and found["out"].bytes == 16


def test_arrays_on_the_chip_move_nothing():
  found = read(
    """
  %p = f32[256]{0:T(128)} parameter(0)
  %go = (f32[256]{0:T(128)S(1)}, f32[256]{0:T(128)}, u32[]) copy-start(%p)
  %end = f32[256]{0:T(128)S(1)} copy-done(%go)
  ROOT %twice = f32[256]{0:T(128)} add(%end, %end)
"""
  )
  assert found["go"].bytes == 1024 + 4 and found["twice"].bytes == 1024
  assert "end" not in found


FUSED = """
%fused (a: f32[100], i: s32[]) -> f32[10] {
  %a = f32[100]{0} parameter(0)
  %i = s32[] parameter(1)
  %part = f32[10]{0} dynamic-slice(%a, %i), dynamic_slice_sizes={10}
  ROOT %twice = f32[10]{0} add(%part, %part)
}
"""
IN_PLACE = """
%write (a: f32[100], u: f32[10], i: s32[]) -> f32[100] {
  %a = f32[100]{0} parameter(0)
  %u = f32[10]{0} parameter(1)
  %i = s32[] parameter(2)
  %neg = f32[10]{0} negate(%u)
  ROOT %new = f32[100]{0} dynamic-update-slice(%a, %neg, %i)
}
"""


def test_of_a_fusion_only_slices_and_updates_count():
  entry = """
  %p = f32[100]{0} parameter(0)
  %u = f32[10]{0} parameter(1)
  %i = s32[] parameter(2)
  %cut = f32[10]{0} fusion(%p, %i), kind=kLoop, calls=%fused
  ROOT %new = f32[100]{0} fusion(%p, %u, %i), kind=kLoop, calls=%write
"""
  found = read(entry, FUSED, IN_PLACE)
  assert found["cut"].bytes == 40 + 4 + 40
  assert found["new"].bytes == 40 + 4 + 40


def test_the_body_of_a_loop_counts_as_often_as_it_runs():
  body = """
%body (s: (f32[8], s32[])) -> (f32[8], s32[]) {
  %s = (f32[8]{0}, s32[]) parameter(0)
  %x = f32[8]{0} get-tuple-element(%s), index=0
  %y = f32[8]{0} negate(%x)
  ROOT %r = (f32[8]{0}, s32[]) tuple(%y, %n)
}
%cond (s: (f32[8], s32[])) -> pred[] {
  ROOT %c = pred[] constant(true)
}
"""
  entry = """
  %p = (f32[8]{0}, s32[]) parameter(0)
  ROOT %w = (f32[8]{0}, s32[]) while(%p), condition=%cond, body=%body"""
  counted = entry + ', backend_config={"known_trip_count":{"n":"5"}}'
  assert read(counted, body)["y"].bytes == 5 * 64 and read(counted, body)["y"].trips == 5
  assert read(entry, body)["y"].bytes == 64
  assert list(read(counted, body)) == ["y"]


@pytest.mark.parametrize(
  ("source", "scope"),
  [
    ("jit(step)/while/body/jvp(Net.encode)/level1/conv/add", "Net.encode/level1/conv"),
    ("jit(step)/transpose(jvp(Net.encode))/level1/conv/norm/mul", "Net.encode/level1/conv"),
    ("jit(step)/jvp()/jit(relu)/max", ""),
    ("jit(step)/optimizer/mul", "optimizer"),
    ("jit(step)/shard_map/objective/reduce_sum", "objective"),
    ("", ""),
  ],
)
def test_an_operation_is_of_its_layer_forwards_and_backwards(source, scope):
  assert hlo.scope(source) == scope


def test_collectives_and_calls_of_the_host_are_found():
  found = collectives.read(
    module("""
  %p = f32[8,4]{1,0} parameter(0)
  %all-reduce.7 = (f32[4]{0}, bf16[3,2]{1,0}) all-reduce(%p, %q), to_apply=%add
  %go = f32[4]{0} all-reduce-start(%p), to_apply=%add
  %gone = f32[4]{0} all-reduce-done(%go)
  %gather = (f64[1]{0}, f64[8]{0}) all-gather-start(%p), dimensions={0}
  %end = f64[8]{0} all-gather-done(%gather)
  %call = f32[4]{0} custom-call(%p), custom_call_target="xla_ffi_python_cpu_callback"
  ROOT %dot = f32[4]{0} custom-call(%p), custom_call_target="__onednn$matmul"
""")
  )
  assert found.kinds == {"all-reduce": 2, "all-gather": 1}
  assert found.dtypes == {"f32": 32, "bf16": 12, "f64": 72}
  assert found.bytes == 32 + 12 + 72
  assert found.host == ("xla_ffi_python_cpu_callback",)
