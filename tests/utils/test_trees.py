"""Names of leaves."""

from typing import NamedTuple

import jax.numpy as jnp

from lmlab.utils import trees


class Pair(NamedTuple):
    """Something with named fields."""
    left: object
    right: object


TREE = {"blocks": {"ff": [jnp.zeros(2), {"scale": jnp.ones(3)}]}, "head": Pair(jnp.zeros(1), (jnp.ones(4),))}


def test_leaves_by_path():
    found = trees.by_path(TREE)
    assert {name: leaf.shape for name, leaf in found.items()} == {
        "blocks/ff/0": (2,), "blocks/ff/1/scale": (3,), "head/left": (1,), "head/right/0": (4,)}


def test_map_with_path_keeps_the_tree():
    named = trees.map_with_path(lambda path, leaf: f"{path}:{leaf.size}", TREE)
    assert named == {"blocks": {"ff": ["blocks/ff/0:2", {"scale": "blocks/ff/1/scale:3"}]},
                     "head": Pair("head/left:1", ("head/right/0:4",))}
