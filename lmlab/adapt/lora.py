"""Low-rank adapters (LoRA: Hu et al. 2022): beside a kernel W stand A, B and a scale s, and the layer computes
x W + s (x A) B. B begins as zero, so that nothing is changed at first."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp

from lmlab.adapt import quantised
from lmlab.utils import trees
from lmlab.utils.errors import UserError

LEAVES = ("lora_a", "lora_b", "lora_scale")
STACKED = r"(^|/)blocks/"                     # parameters with a leading axis of layers
_TWO_INPUTS = r"(attention|cross)/out/kernel$"  # kernels that contract two axes, heads and their features


def inputs(path) -> int:
    """How many leading axes of the kernel at `path` are contracted, the axis of layers apart."""
    return 2 if re.search(_TWO_INPUTS, path) else 1


def targets(paths, pattern) -> list[str]:
    """The kernels of projections among `paths` that the regular expression finds; a UserError where there are none."""
    kernels = [path for path in paths if path.endswith("/kernel") and not path.startswith("task/")]
    found = [path for path in kernels if re.search(pattern, path)]
    if not found:
        raise UserError(f"config.adapt.lora_targets={pattern!r} finds no kernel; there are {', '.join(kernels[:8])}")
    return found


def add(params, key, *, rank, alpha, pattern):
    """Parameters with an adapter beside each kernel that `pattern` finds.

    Args:
      params: nested dict, boxed with the names of their logical axes or not. key: of A, uniform as PEFT draws it (He's
        bound with slope sqrt(5): 1 / sqrt(inputs)). rank: r. alpha: the scale is alpha / r.
    """
    kernels = trees.by_path(params, _is_box)
    for number, path in enumerate(targets(kernels, pattern)):
        made = _adapter(kernels[path], path, jax.random.fold_in(key, number), rank, alpha)
        branch = path.rpartition("/")[0]
        params = trees.join(params, trees.from_paths({f"{branch}/{name}": x for name, x in made.items()}))
    return params


def _is_box(x):
    return isinstance(x, nn.meta.AxisMetadata)


def _adapter(kernel, path, key, rank, alpha):
    """{"lora_a", "lora_b", "lora_scale"} of one kernel, boxed where it is."""
    names = kernel.names if _is_box(kernel) else None
    shape = (kernel.value if names else kernel).shape
    lead = 1 if re.search(STACKED, path) else 0
    cut = lead + inputs(path)
    bound = 1 / jnp.sqrt(jnp.prod(jnp.array(shape[lead:cut])))
    arrays = {"lora_a": jax.random.uniform(key, (*shape[:cut], rank), minval=-bound, maxval=bound),
              "lora_b": jnp.zeros((*shape[:lead], rank, *shape[cut:])),
              "lora_scale": jnp.full(shape[:lead], alpha / rank)}
    if not names:
        return arrays
    axes = {"lora_a": (*names[:cut], "rank"), "lora_b": (*names[:lead], "rank", *names[cut:]),
            "lora_scale": names[:lead]}
    return {name: kernel.replace(value=array, names=axes[name]) for name, array in arrays.items()}


def delta(adapter, kernel_inputs):
    """s A B of {"lora_a", "lora_b", "lora_scale"}, in the kernel's shape, axis of layers included."""
    a, b, scale = (adapter[name] for name in LEAVES)
    lead = scale.ndim
    flat_a = a.reshape(*a.shape[:lead], -1, a.shape[-1])
    flat_b = b.reshape(*b.shape[:lead + 1], -1)
    product = scale[..., None, None] * (flat_a @ flat_b)
    return product.reshape(*a.shape[:lead + kernel_inputs], *b.shape[lead + 1:])


def merge(params, sign=1):
    """Parameters with every adapter added to its kernel, and no adapters; a base of four bits becomes float32."""
    base, _ = trees.split(quantised.dequantise(params), lambda path: path.rpartition("/")[2] not in LEAVES)
    for branch, adapter in adapters(params).items():
        path = f"{branch}/kernel"
        kernel = trees.by_path(base)[path] + sign * delta(adapter, inputs(path))
        base = trees.join(base, trees.from_paths({path: kernel}))
    return base


def unmerge(params, adapter_params):
    """What `merge` made, without the adapters that `adapter_params` (as `extract` gives them) hold, and beside them."""
    return trees.join(merge(trees.join(params, adapter_params), sign=-1), adapter_params)


def extract(params):
    """The adapters alone, where they stand: nested parameters."""
    return trees.split(params, lambda path: path.rpartition("/")[2] in LEAVES)[0]


def adapters(params) -> dict:
    """{path of a projection: its adapter's leaves}."""
    found = {}
    for path, x in trees.by_path(params).items():
        branch, _, name = path.rpartition("/")
        if name in LEAVES:
            found.setdefault(branch, {})[name] = x
    return found
