"""Trees of arrays and their paths."""

import jax


def path_name(path) -> str:
    """A jax key path as "trunk/blocks/attention/qkv/kernel"."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def map_with_path(function, tree):
    """tree_map with function(path name, leaf)."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(path_name(path), leaf), tree)


def by_path(tree, is_leaf=None) -> dict:
    """{path name: leaf}."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_leaf)}


def from_paths(leaves) -> dict:
    """The nested dict of {path name: leaf}."""
    tree = {}
    for path, leaf in leaves.items():
        part = tree
        *branches, name = path.split("/")
        for branch in branches:
            part = part.setdefault(branch, {})
        part[name] = leaf
    return tree


def count(tree) -> int:
    """Numbers in all leaves (arrays, or their shapes) together."""
    return sum(x.size for x in jax.tree.leaves(tree))


def split(tree, chosen) -> tuple[dict, dict]:
    """Two nested dicts that make up `tree`: the leaves whose path name `chosen` says yes to, and the others. Branches
    without a leaf are left out."""
    leaves = by_path(tree)
    yes = {path: leaf for path, leaf in leaves.items() if chosen(path)}
    return from_paths(yes), from_paths({path: leaf for path, leaf in leaves.items() if path not in yes})


def join(tree, over) -> dict:
    """A nested dict with the leaves of both, those of `over` where a path is in both."""
    both = dict(tree)
    for name, value in over.items():
        inside = isinstance(value, dict) and isinstance(both.get(name), dict)
        both[name] = join(both[name], value) if inside else value
    return both
