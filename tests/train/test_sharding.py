"""Meshes, and where parameters and moments live on them."""

import flax.linen as nn
import jax
import kinds
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import PartitionSpec

from lmlab.launch import plan
from lmlab.train import optimizer, sharding
from lmlab.utils.errors import UserError
from lmlab.utils.trees import by_path


@pytest.mark.parametrize("sizes,message", [
    (dict(fsdp=3), "config.mesh.fsdp=3 does not divide 8 devices; try 2, 4, 8"),
    (dict(tensor=0), "config.mesh.tensor=0 does not divide 8 devices; try 2, 4, 8"),
    (dict(data=16), "config.mesh.data=16 does not divide 8 devices"),
    (dict(data=2, fsdp=2, tensor=4), "is no layout of 8 devices: the product must be 8"),
    (dict(data=2), "is no layout of 8 devices"),
    (dict(data=-1, fsdp=-1), "one size may be -1"),
    (dict(data=-1, fsdp=8, tensor=2), "is no layout of 8 devices"),
])
def test_impossible_meshes_name_what_would_do(sizes, message, eight):
    with pytest.raises(UserError, match=message):
        sharding.make_mesh(**sizes, devices=eight)


def test_one_device_takes_one_only():
    with pytest.raises(UserError, match="config.mesh.fsdp=2 does not divide 1 device; try 1"):
        sharding.make_mesh(fsdp=2, devices=jax.devices()[:1])


@pytest.mark.parametrize("sizes,shape", [
    (dict(), (8, 1, 1, 1, 1)), (dict(fsdp=4), (2, 4, 1, 1, 1)), (dict(data=2, fsdp=-1, tensor=2), (2, 2, 1, 1, 2)),
    (dict(data=1, fsdp=1, tensor=-1), (1, 1, 1, 1, 8)), (dict(context=4, expert=2), (1, 1, 2, 4, 1))])
def test_one_axis_takes_what_the_others_leave(sizes, shape, eight):
    mesh = sharding.make_mesh(**sizes, devices=eight)
    assert tuple(mesh.shape.values()) == shape
    assert mesh.axis_names == ("data", "fsdp", "expert", "context", "tensor")
    assert len(set(mesh.devices.flat)) == 8


@pytest.fixture(scope="module")
def slices():
    """The devices of two slices of 16 TPUs, neither of which is there."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in plan._ALONE.items():
            patch.setenv(name, value)
        try:
            return list(topologies.get_topology_desc(platform="tpu", topology_name="v5e:4x4", num_slices=2).devices)
        except Exception as error:
            pytest.skip(f"needs libtpu: {error}")


@pytest.mark.parametrize("sizes,axis", [
    (dict(), 0), (dict(data=4, fsdp=-1), 0), (dict(data=2, fsdp=2, context=2, expert=2, tensor=2), 0),
    (dict(data=1, fsdp=-1), 1), (dict(data=1, fsdp=4, tensor=8), 1)])
def test_slices_stand_together_along_data_or_else_fsdp(sizes, axis, slices):
    mesh = sharding.make_mesh(**sizes, devices=slices[::2] + slices[1::2])
    assert len(set(mesh.devices.flat)) == 32
    for half, number in zip(np.split(mesh.devices, 2, axis), (0, 1)):
        assert {device.slice_index for device in half.flat} == {number}


def test_other_axes_stay_within_a_slice(slices):
    with pytest.raises(UserError, match="data=1 times config.mesh.fsdp=1 must be a multiple of 2, the slices"):
        sharding.make_mesh(1, 1, 32, devices=slices)


@pytest.fixture(scope="module")
def targets(make_model, make_strategy):
    """A function: (mesh, optimizer) -> {path: ShapeDtypeStruct} of a whole train state; nothing is compiled."""
    def make(name, which, **model):
        built = optimizer.build(steps=10, name=which, warmup=1)
        return by_path(make_strategy(name, make_model(**model), built).target)
    return make


def test_the_table_lays_out_kernels(targets):
    where = {path: leaf.sharding.spec for path, leaf in targets("mixed", "sgd").items()}
    kernel = lambda path: where[f"params/trunk/blocks/{path}/kernel"]
    assert kernel("attention/qkv") == PartitionSpec(None, "fsdp", "tensor", None, None)
    assert kernel("attention/out") == PartitionSpec(None, "tensor", None, "fsdp")
    assert kernel("ff/wi_gated") == PartitionSpec(None, "fsdp", None, "tensor")
    assert kernel("ff/wo") == PartitionSpec(None, "tensor", "fsdp")
    assert where["params/trunk/norm_final/scale"] == PartitionSpec(None)


def test_the_table_lays_out_encoders_crosses_and_experts(targets):
    where = {path: leaf.sharding.spec for path, leaf in targets(
        "mixed", "sgd", encoder_layers=2, positions="relative", experts=3).items()}
    at = lambda path: where[f"params/{path}"]
    assert at("encoder/blocks/attention/qkv/kernel") == at("trunk/blocks/attention/qkv/kernel")
    assert at("trunk/blocks/cross/q/kernel") == PartitionSpec(None, "fsdp", "tensor", None)
    assert at("trunk/blocks/cross/kv/kernel") == PartitionSpec(None, "fsdp", "tensor", None, None)
    assert at("trunk/blocks/cross/out/kernel") == PartitionSpec(None, "tensor", None, "fsdp")
    assert at("trunk/blocks/experts/wi") == PartitionSpec(None, "expert", "fsdp", "tensor")
    assert at("encoder/blocks/experts/wo") == PartitionSpec(None, "expert", "tensor", "fsdp")
    assert at("encoder/relative") == PartitionSpec(None, "tensor")


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_axis_that_a_model_names_is_in_the_table(kind):
    known = {axis for axis, _ in sharding.RULES}
    boxes = jax.tree.leaves(kinds.initial(kind)[1], is_leaf=lambda x: isinstance(x, nn.meta.AxisMetadata))
    assert {axis for box in boxes for axis in box.names} <= known


def test_a_ragged_vocabulary_is_on_every_device_of_the_axis(targets):
    ragged, even = (targets("mixed", "sgd", head_bias=True, vocab_size=size) for size in (37, 38))
    for path, spec, whole in [("params/token_embedding", ("tensor", "fsdp"), (None, "fsdp")),
                              ("params/head_bias", ("tensor",), (None,)),
                              ("params/head/kernel", ("fsdp", "tensor"), ("fsdp", None))]:
        assert even[path].sharding.spec == PartitionSpec(*spec)
        assert ragged[path].sharding.spec == PartitionSpec(*whole)


def test_any_other_ragged_axis_is_refused_by_name(targets):
    message = "config.mesh.tensor=4 does not divide axis 1 of trunk/blocks/attention/qkv/bias"
    with pytest.raises(UserError, match=message):
        targets("tensor", "sgd", kv_heads=2)


@pytest.mark.parametrize("which", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("name", ["fsdp", "mixed"])
def test_moments_live_where_their_parameters_live(which, name, targets):
    leaves = targets(name, which)
    params = {path.removeprefix("params/"): leaf for path, leaf in leaves.items() if path.startswith("params/")}
    moments = {path: leaf for path, leaf in leaves.items() if path.startswith("opt_state/") and leaf.ndim
               and not path.endswith("ns_coeffs")}  # Muon's three numbers
    copies = {"sgd": 1, "adamw": 2, "muon": None}[which]
    assert copies is None or len(moments) == copies * len(params)
    for path, leaf in moments.items():
        owner = next(p for p in params if path.endswith("/" + p))
        assert leaf.shape == params[owner].shape and leaf.sharding == params[owner].sharding, path


@pytest.mark.parametrize("which", ["adamw", "muon"])
def test_fully_sharded_state_leaves_nothing_large_on_every_device(which, targets):
    """Under fsdp=8 a device holds an eighth, but for norms, biases, counts."""
    leaves = targets("fsdp", which, vocab_size=4096)
    held = {path: int(np.prod(leaf.sharding.shard_shape(leaf.shape))) for path, leaf in leaves.items()}
    total = sum(int(np.prod(leaf.shape)) for leaf in leaves.values())
    assert sum(held.values()) < 1.1 * total / 8
    for path, leaf in leaves.items():
        assert not leaf.sharding.is_fully_replicated or leaf.size < 500, path


@pytest.mark.parametrize("sizes,shape", [
    (dict(data=2, fsdp=2, tensor=2), (2, 4)), (dict(data=2, expert=2, context=2), (2, 2)), (dict(context=4), (4, 1))])
def test_put_batch_splits_rows_and_their_length(sizes, shape, eight):
    batch = {"tokens": np.arange(32).reshape(8, 4), "row": np.arange(8)}
    placed = sharding.put_batch(batch, sharding.make_mesh(**sizes, devices=eight))
    for name, value in batch.items():
        np.testing.assert_array_equal(placed[name], value)
        assert {shard.data.shape for shard in placed[name].addressable_shards} == {shape[:value.ndim]}


def test_a_length_that_does_not_divide_is_refused_by_name(eight):
    batch = {"tokens": np.zeros((8, 16)), "encoder_tokens": np.zeros((8, 12))}
    with pytest.raises(UserError, match="context=8 does not divide the 12 positions of 'encoder_tokens' in a batch; "
                                        "try 1, 2, 4"):
        sharding.put_batch(batch, sharding.make_mesh(context=8, devices=eight))
