"""A base of four bits under adapters (QLoRA: Dettmers et al. 2023): in place of a projection's "kernel" stand "codes"
and "absmax" (models/nf4.py), and the layer makes the kernel anew each time.

Blocks lie along the axis of the network's width, which every projection of a layer has: a mesh that splits heads or
feed-forward leaves them whole, and fsdp splits between blocks.
"""

import re

import flax.linen as nn

from lmlab.models import nf4
from lmlab.utils import trees

KERNELS = r"(^|/)blocks/(attention|cross|ff)/\w+/kernel$"  # of the layers' projections
_BACK = r"/(out|wo)/kernel$"  # those whose last axis is the width; others begin with it, after that of layers


def quantise(params):
    """Parameters with NF4 in place of the layers' kernels, boxed with the names of their logical axes or not.

    Raises:
      UserError: where the width cannot be cut into blocks.
    """
    made = {}
    for path, x in trees.by_path(params, _is_box).items():
        if not re.search(KERNELS, path):
            made[path] = x
            continue
        pair = nf4.quantise(x.value if _is_box(x) else x, -1 if re.search(_BACK, path) else 1)
        branch = path.removesuffix("kernel")
        made |= {branch + name: x.replace(value=leaf) if _is_box(x) else leaf for name, leaf in zip(nf4.LEAVES, pair)}
    return trees.from_paths(made)


def dequantise(params):
    """Parameters with a float32 kernel in place of each that is NF4."""
    leaves = trees.by_path(params)
    for path in [path for path in leaves if path.endswith("/codes")]:
        branch = path.removesuffix("codes")
        leaves[f"{branch}kernel"] = nf4.dequantise(*(leaves.pop(branch + name) for name in nf4.LEAVES))
    return trees.from_paths(leaves)


def _is_box(x):
    return isinstance(x, nn.meta.AxisMetadata)
