"""Collectives and memory traffic of small programs whose counts are known by arithmetic."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from lmlab.launch.hlo import Collective, Program

LOOPS = 5


def compiled(function, mesh, inputs, output, *shapes):
    """The text of `function` under shard_map over `mesh`."""
    mapped = jax.shard_map(function, mesh=mesh, in_specs=inputs, out_specs=output, check_vma=False)
    return Program(jax.jit(mapped).lower(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes)).compile().as_text())


@pytest.fixture(scope="module")
def mesh(eight):
    return jax.make_mesh((4, 2), ("a", "b"), devices=eight, axis_types=(jax.sharding.AxisType.Auto,) * 2)


SHAPE = (16, 32)
BYTES = 4 * 16 * 32
CASES = {
    "all-reduce": (lambda x: jax.lax.psum(x, "a"), P(None, "b"), P(None, "b"), 4, BYTES / 2, 2 * 3 / 4),
    "all-gather": (lambda x: jax.lax.all_gather(x, "a", tiled=True), P("a"), P(), 4, BYTES, 3 / 4),
    "reduce-scatter": (lambda x: jax.lax.psum_scatter(x, "a", tiled=True), P(), P("a"), 4, BYTES / 4, 3),
    "all-to-all": (lambda x: jax.lax.all_to_all(x, "b", 1, 0, tiled=True), P("b"), P(None, "b"), 2, BYTES / 2, 1 / 2),
    "collective-permute": (lambda x: jax.lax.ppermute(x, "a", [(i, (i + 1) % 4) for i in range(4)]), P("a"), P("a"), 2,
                           BYTES / 4, 1),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_is_counted_with_its_group_and_bytes(kind, mesh):
    function, into, out, group, result, share = CASES[kind]
    found, = compiled(function, mesh, (into,), out, SHAPE).collectives()
    assert (found.kind, found.group, found.count, found.result) == (kind, group, 1, result)
    assert found.sent == pytest.approx(share * result)


def test_a_loop_counts_as_often_as_it_runs(mesh):
    def function(x):
        inner = lambda _, x: jax.lax.fori_loop(0, 3, lambda _, x: jnp.sin(jax.lax.psum(x, "b")), jax.lax.psum(x, "a"))
        return jax.lax.fori_loop(0, LOOPS, inner, x)
    found = compiled(function, mesh, (P(),), P(), SHAPE).collectives()
    assert {c.group: c.count for c in found} == {4: LOOPS, 2: 3 * LOOPS}
    assert all(c.result == c.count * BYTES for c in found)


def test_memory_traffic_is_operands_and_results():
    program = functools.partial(jax.jit(lambda a, b: jnp.tanh(a @ b)).lower)
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((64, 128), (128, 256))]
    moved = Program(program(*shapes).compile().as_text()).moved()
    product = 4 * (64 * 128 + 128 * 256 + 64 * 256)
    assert moved == product + 2 * 4 * 64 * 256  # and the tanh reads and writes


def test_of_a_stack_that_a_loop_walks_only_the_slices_count():
    def function(stack, x):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, stack)[0]
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((LOOPS, 64, 64), (8, 64))]
    moved = Program(jax.jit(function).lower(*shapes).compile().as_text()).moved()
    once = 4 * (64 * 64 + 2 * 8 * 64) + 2 * 4 * 8 * 64
    assert LOOPS * once <= moved <= LOOPS * (once + 3 * 4 * 64 * 64 + 4 * 8 * 64) + 4096  # slices may be copied first


def test_a_loop_that_counts_by_twos_runs_half_as_often():
    """As TPU compilers write a gather that is taken apart: two parts a turn."""
    text = """%cond (p: (f32[4], u32[])) -> pred[] {
  %limit = u32[] constant(8)
  %p = (f32[4]{0}, u32[]) parameter(0)
  %counter = u32[] get-tuple-element(%p), index=1
  ROOT %less = pred[] compare(%counter, %limit), direction=LT
}

%body (q: (f32[4], u32[])) -> (f32[4], u32[]) {
  %two = u32[] constant(2)
  %q = (f32[4]{0}, u32[]) parameter(0)
  %x = f32[4]{0} get-tuple-element(%q), index=0
  %i = u32[] get-tuple-element(%q), index=1
  %moved = f32[4]{0} collective-permute(%x), channel_id=1, source_target_pairs={{0,1},{1,0}}
  %next = u32[] add(%i, %two)
  ROOT %result = (f32[4]{0}, u32[]) tuple(%moved, %next)
}

ENTRY %main (a: (f32[4], u32[])) -> (f32[4], u32[]) {
  %a = (f32[4]{0}, u32[]) parameter(0)
  ROOT %loop = (f32[4]{0}, u32[]) while(%a), condition=%cond, body=%body
}
"""
    assert Program(text).collectives() == [Collective("collective-permute", 2, 4, 4 * 16)]
    assert Program(text.replace("constant(2)", "constant(1)")).collectives()[0].count == 8


def test_a_sum_of_which_each_keeps_its_slice_is_a_reduce_scatter():
    """As TPU compilers write one."""
    text = """%all-reduce-scatter.1 (p: f32[8]) -> f32[2] {
  %p = f32[8]{0} parameter(0)
  %sum = f32[8]{0} all-reduce(%p), channel_id=1, replica_groups={{0,1,2,3}}
  ROOT %own = f32[2]{0} slice(%sum), slice={[0:2]}
}

ENTRY %main (a: f32[8]) -> f32[2] {
  %a = f32[8]{0} parameter(0)
  ROOT %f = f32[2]{0} fusion(%a), kind=kCustom, calls=%all-reduce-scatter.1
}
"""
    found, = Program(text).collectives()
    assert found == Collective("reduce-scatter", 4, 1, 8.0) and found.sent == 24


def test_groups_of_a_mesh_are_read():
    text = """ENTRY %main (a: f32[8]) -> f32[32] {
  %a = f32[8]{0} parameter(0)
  ROOT %g = f32[32]{0} all-gather(%a), channel_id=1, replica_groups=mesh['x'=1,'y'=4,'z'=2], """ \
        """device_ids=([2,4]T(1,0)) {'y'}, dimensions={0}
}
"""
    assert Program(text).collectives() == [Collective("all-gather", 4, 1, 128.0)]
