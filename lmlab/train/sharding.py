"""Where arrays live: one table of logical axis names -> mesh axes, and the shardings that follow from it."""

import functools
import math

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from lmlab.utils.errors import UserError, divisors
from lmlab.utils.trees import map_with_path, path_name

AXES = ("data", "fsdp", "expert", "context", "tensor")
ROWS = ("data", "fsdp", "expert")  # those that split the rows of a batch

# Models name the axes on the left and know no mesh. None: on every device.
RULES = (
    ("batch", ROWS),
    ("length", "context"),
    ("embed", "fsdp"),
    ("heads", "tensor"),
    ("ff", "tensor"),
    ("vocab", "tensor"),
    ("expert", "expert"),
    *((axis, None) for axis in ("words", "activation", "layers", "norm", "head", "qkv", "gate", "position")),
)


def ways(sizes) -> int:
    """Devices that split the rows of a batch. sizes: of a mesh, by axis; one that is not there has 1."""
    return math.prod(sizes.get(axis, 1) for axis in ROWS)


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, context: int = 1, expert: int = 1, *,
              devices=None) -> Mesh:
    """The mesh of all devices. data: copies of the model that split the batch; fsdp: splits the batch and every
    parameter; tensor: splits heads, feed-forward and vocabulary; context: splits each row of the batch along its
    length; expert: splits the batch and the experts of a mixture. -1 (one axis at most): what the others leave.

    Neighbours on the last axes of AXES are neighbours in the machine. Where the devices stand in slices, a slower
    network between them, the data axis spans these, outermost, and fsdp where data is too small.

    Raises:
      UserError: where a size does not divide the devices, or their product is not the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = dict(data=data, fsdp=fsdp, expert=expert, context=context, tensor=tensor)
    fit = ", ".join(str(d) for d in range(2, len(devices) + 1) if len(devices) % d == 0) or "1"
    for name, size in sizes.items():
        if size != -1 and (size < 1 or len(devices) % size):
            raise UserError(f"config.mesh.{name}={size} does not divide {len(devices)} device"
                            f"{'s' * (len(devices) > 1)}; try {fit}")
    free = [name for name, size in sizes.items() if size == -1]
    fixed = int(np.prod([size for size in sizes.values() if size != -1]))
    if len(free) == 1 and len(devices) % fixed == 0:
        sizes[free[0]] = len(devices) // fixed
    elif free or fixed != len(devices):
        raise UserError(f"config.mesh={sizes} is no layout of {len(devices)} devices: the product must be "
                        f"{len(devices)}, and one size may be -1")
    types = (AxisType.Auto,) * len(AXES)
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        return jax.make_mesh(tuple(sizes.values()), AXES, axis_types=types, devices=devices)
    copies = math.gcd(sizes["data"], slices)
    outer = dict.fromkeys(AXES, 1) | {"data": copies, "fsdp": slices // copies}
    if sizes["fsdp"] % outer["fsdp"]:
        raise UserError(f"config.mesh.data={sizes['data']} times config.mesh.fsdp={sizes['fsdp']} must be a multiple "
                        f"of {slices}, the slices that the devices stand in: the other axes stay within one")
    inner = [sizes[axis] // outer[axis] for axis in AXES]
    return Mesh(mesh_utils.create_hybrid_device_mesh(inner, list(outer.values()), devices,
                                                     allow_split_physical_axes=True), AXES, axis_types=types)


def on_mesh(mesh, function):
    """`function`, in which logical axes mean those of `mesh` by the table."""
    @functools.wraps(function)
    def call(*args):
        with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
            return function(*args)
    return call


def parameter_shardings(mesh, boxed):
    """NamedSharding for each leaf of a boxed parameter tree (shapes are enough).

    Raises:
      UserError: where a mesh axis does not divide the array's axis. Embeddings and the output projection may be
        ragged (a vocabulary is what the text makes it): such an axis is then on every device.
    """
    def sharding(path, spec, leaf):
        spec = list(spec)
        for axis, names in enumerate(spec):
            ways = mesh.shape[names] if names else 1
            if leaf.shape[axis] % ways:
                if "embedding" not in path and "head" not in path.split("/")[0]:
                    raise UserError(f"config.mesh.{names}={ways} does not divide axis {axis} of {path}, "
                                    f"of shape {leaf.shape}")
                spec[axis] = None
        return NamedSharding(mesh, PartitionSpec(*spec))

    specs = nn.logical_to_mesh(nn.get_partition_spec(boxed), RULES)
    return jax.tree_util.tree_map_with_path(lambda path, spec, leaf: sharding(path_name(path), spec, leaf), specs,
                                            nn.meta.unbox(boxed), is_leaf=lambda x: isinstance(x, PartitionSpec))


def state_shardings(mesh, state, parameters):
    """NamedSharding for each leaf of a train state, given those of its parameters.

    An optimizer's moments have the path of their parameter at the end of their own and its shape, and live where it
    lives; all else (counts, scalars) is on every device.
    """
    where = {path_name(path): s for path, s in jax.tree_util.tree_leaves_with_path(parameters)}
    shape = {path_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(state["params"])}

    def sharding(path, leaf):
        parts = path.split("/")
        tails = ("/".join(parts[i:]) for i in range(len(parts)))
        owner = next((t for t in tails if t in where and shape[t] == leaf.shape), None)
        return where[owner] if owner else NamedSharding(mesh, PartitionSpec())
    return map_with_path(sharding, state)


def batch_sharding(mesh, ndim=2) -> NamedSharding:
    """Of an array of a batch: its rows split over ROWS, its length, where it has one, over context."""
    return NamedSharding(mesh, PartitionSpec(*(ROWS, "context")[:ndim]))


def share(mesh):
    """(i, n): this process's devices need the i-th of n equal parts of a global batch; (0, 1) where they need more.
    Processes that hold parts of the same rows, of their length or of the model, need the same part."""
    parts = ways(mesh.shape)
    rows = batch_sharding(mesh, 1).addressable_devices_indices_map((parts,)).values()
    places = [place.indices(parts) for place, in rows]
    first, end = min(start for start, _, _ in places), max(stop for _, stop, _ in places)
    size = end - first
    return (first // size, parts // size) if first % size == 0 and parts % size == 0 else (0, 1)


def put_flag(flag, mesh):
    """(devices,) bool: `flag` of each process, on its devices. A row that several processes hold would not do: their
    copies count as equal."""
    where = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    return jax.make_array_from_callback((mesh.size,), where, lambda _: np.full(1, flag))


def put_batch(batch, mesh, part=(0, 1)):
    """Device arrays of a global batch from the rows of it that this process has: `part`, what `share` says.

    Raises:
      UserError: where config.mesh.context does not divide the length of an array.
    """
    part, parts = part

    def put(name, v):
        where, shape = batch_sharding(mesh, v.ndim), (parts * v.shape[0], *v.shape[1:])
        if v.ndim > 1 and v.shape[1] % mesh.shape["context"]:
            raise UserError(f"config.mesh.context={mesh.shape['context']} does not divide the {v.shape[1]} positions "
                            f"of {name!r} in a batch; try {divisors(v.shape[1], mesh.size)}")

        def local(index):
            start, stop, _ = index[0].indices(shape[0])
            return v[(slice(start - part * v.shape[0], stop - part * v.shape[0]), *index[1:])]
        return jax.make_array_from_callback(shape, where, local)
    return {name: put(name, v) for name, v in batch.items()}
