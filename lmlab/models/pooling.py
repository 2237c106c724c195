"""One state for each text of a row."""

import jax.numpy as jnp

POOLS = ("first", "mean", "last")


def pooled(x_BTD, segments_BT, count, pool):
    """x_BSD: one state for each of the first `count` segments of a row, zeros where there is none.

    pool: "first", "mean" or "last" of its tokens.
    """
    member_BST = segments_BT[:, None] == jnp.arange(1, count + 1)[:, None]
    number_BST = jnp.cumsum(member_BST, axis=-1) * member_BST
    size_BS1 = number_BST.max(-1, keepdims=True)
    weight_BST = {"first": number_BST == 1, "last": (number_BST == size_BS1) & member_BST,
                  "mean": member_BST / jnp.maximum(size_BS1, 1)}[pool]
    return jnp.einsum("bst,btd->bsd", weight_BST.astype(x_BTD.dtype), x_BTD)
