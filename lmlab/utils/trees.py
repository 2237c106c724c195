"""Trees of arrays and their paths."""

import jax


def path_name(path) -> str:
    """A jax key path as "trunk/blocks/attention/qkv/kernel"."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def map_with_path(function, tree):
    """tree_map with function(path name, leaf)."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(path_name(path), leaf), tree)


def by_path(tree) -> dict:
    """{path name: leaf}."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def count(tree) -> int:
    """Numbers in all leaves (arrays, or their shapes) together."""
    return sum(x.size for x in jax.tree.leaves(tree))
