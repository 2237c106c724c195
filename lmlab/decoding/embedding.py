"""Texts to the states of a network's last layer, and to one vector each."""

import functools

import jax
import numpy as np

from lmlab.data.cleaning import valid_unicode
from lmlab.decoding.cached import around
from lmlab.utils.errors import UserError

_ROWS = 32  # texts a step


def embed(lm, texts) -> np.ndarray:
    """Sentence embeddings x_BD (Reimers and Gurevych 2019): the mean of a text's states or the first of them, and its
    length made 1, as lm.config.extras.embedding says ("pooling", "normalise"; the mean, as it is, where it says
    nothing). Texts are cut at its "length", or at the context."""
    said = lm.config.get("extras", {}).get("embedding", {})
    how = {"pooling": "mean", "normalise": False, "length": 0, **dict(said)}
    pool = {"mean": lambda x_TD: x_TD.mean(0), "cls": lambda x_TD: x_TD[0]}[how["pooling"]]
    x_BD = np.zeros((len(texts), lm.model.spec.width), np.float32)
    for row, x_TD in enumerate(states(lm, texts, length=how["length"])):
        x_BD[row] = pool(x_TD)
    return x_BD / np.maximum(np.linalg.norm(x_BD, axis=1, keepdims=True), 1e-12) if how["normalise"] else x_BD


def cosines(first_BD, second_BD) -> np.ndarray:
    """The cosine of each of the vectors with each of the others, (B, B'), float64; 0 where one of them is 0."""
    unit = lambda x_BD: x_BD / np.maximum(np.linalg.norm(x_BD, axis=1, keepdims=True), 1e-12)
    return unit(np.float64(first_BD)) @ unit(np.float64(second_BD)).T


def states(lm, texts, length=0) -> list[np.ndarray]:
    """The last layer's x_TD of each text (an encoder-decoder's encoder's), float32, with what stands around a text.

    Texts of like length share a step; a row's states do not depend on the rows beside it. length: the most tokens;
    0: the context.
    Raises:
      UserError: for what is no text, or has no token.
    """
    spec = lm.model.spec
    length = min(length or spec.context, spec.context)
    ids = [_around(lm, found, length) for found in lm.tokenizer.encode_batch([_text(text) for text in texts])]
    if [] in ids:
        raise UserError(f"text {1 + ids.index([])} is empty, and the tokenizer has no token that begins a text")
    params, out = jax.device_put(lm.params), [None] * len(ids)
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    for start in range(0, len(order), _ROWS):
        rows = order[start:start + _ROWS]
        # Few shapes, so that few programs are compiled: powers of two, of tokens and of rows.
        T = min(1 << (len(ids[rows[-1]]) - 1).bit_length(), spec.context)
        tokens_BT = np.zeros((1 << (len(rows) - 1).bit_length(), T), np.int32)
        segments_BT = np.zeros_like(tokens_BT)
        for place, row in enumerate(rows):
            tokens_BT[place, :len(ids[row])], segments_BT[place, :len(ids[row])] = ids[row], 1
        x_BTD = np.asarray(_states(lm.model, params, tokens_BT, segments_BT), np.float32)
        for place, row in enumerate(rows):
            out[row] = x_BTD[place, :len(ids[row])]
    return out


@functools.partial(jax.jit, static_argnums=0)
def _states(model, params, tokens_BT, segments_BT):
    method = "encode" if model.spec.encoder_layers else "hidden"
    return model.apply({"params": params}, tokens_BT, segments_BT, method=method)


def _around(lm, ids, length):
    """The ids with the tokens that the model reads before and after a text, `length` in all."""
    before, after = around(lm.model.spec, lm.tokenizer)
    room = length - (before >= 0) - (after >= 0)
    return [i for i in (before, *ids[:max(room, 0)], after) if i >= 0]


def _text(text):
    if not isinstance(text, str):
        raise UserError(f"{str(text)[:80]!r} is no text; give a string or a list of strings")
    return valid_unicode(text)
