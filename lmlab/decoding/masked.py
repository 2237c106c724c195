"""Texts with masks to what may stand in their place, by an encoder trained to tell (Devlin et al. 2019)."""

import functools
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lmlab import run
from lmlab.data.features import examples, vocabulary
from lmlab.decoding import headed
from lmlab.utils.errors import UserError

WRITTEN = ("<mask>", "[MASK]")  # and whatever the tokenizer itself writes


class Masked(NamedTuple):
    """A text as ids, nothing around it, where its masks are, and how the first of them is written."""
    ids: list[int]
    places: list[int]
    written: str


def encode(tokenizer, text) -> Masked:
    """A text's ids; the rest of it is plain text, whatever special tokens it may be written like.

    Where a word's token holds the space before the word, a mask takes that space too.
    Raises:
      UserError: where there is no mask.
    """
    mask, literal = tokenizer.specials["mask"], getattr(tokenizer, "variables", {}).get("mask_token")
    pattern = "|".join(map(re.escape, [*WRITTEN, *([literal] if literal else [])]))
    parts, written = re.split(pattern, text), re.search(pattern, text)
    if written is None:
        raise UserError(f"{text[:80]!r} has no mask; write {literal or WRITTEN[0]} where a word is to be found")
    if literal:
        guard = next(chr(code) for code in range(0xf0000, 0x10fffe) if chr(code) not in text)
        shielded = literal.join(tokenizer.shield(part, guard) for part in parts)
        ids = [i for piece in shielded.split(guard) if piece for i in tokenizer.encode_markup(piece)]
    else:
        spaced = len(tokenizer.encode(" a")) == len(tokenizer.encode("a"))
        parts = [part.removesuffix(" ") if spaced else part for part in parts[:-1]] + parts[-1:]
        ids = tokenizer.encode(parts[0])
        for part in parts[1:]:
            ids = [*ids, mask, *tokenizer.encode(part)]
    return Masked(ids, [place for place, i in enumerate(ids) if i == mask], written[0])


def decode(tokenizer, masked: Masked, number: int, token: int) -> str:
    """The text with `token` in the place of its mask `number`; others stay as they are written, and no special token is
    left in it."""
    mask, special_V = tokenizer.specials["mask"], vocabulary.specials(tokenizer)
    ids = [*masked.ids]
    ids[masked.places[number]] = token
    others = [place for place in masked.places if place != masked.places[number]]
    pieces, start = [], 0
    for end in [*others, len(ids)]:
        pieces.append([i for i in ids[start:end] if not special_V[i]])
        start = end + 1
    if tokenizer.decode([mask]):  # it writes the mask itself, with the space that belongs before it
        return tokenizer.decode([i for piece in pieces for i in (*piece, mask)][:-1])
    return masked.written.join(map(tokenizer.decode, pieces))


def probabilities(lm, texts: list[Masked]) -> list[np.ndarray]:
    """(M, V) float32 of the M masks of each text: p(token), over the whole vocabulary.

    Raises:
      UserError: for a model that was not trained for it; for a text that is longer than the context.
    """
    check(lm)
    context, encoded = lm.model.spec.context, []
    for number, text in enumerate(texts, 1):
        framed = examples.frame(lm.tokenizer, text.ids, None, len(text.ids) + 2)
        if len(framed.ids) > context:
            raise UserError(f"text {number} has {len(framed.ids)} tokens, and the model reads at most {context}; "
                            "shorten it")
        before = len(framed.ids) - len(text.ids) - 1
        encoded.append(framed._replace(places=np.array(text.places, np.int32) + before))
    return headed.by_example(lm, encoded, _probabilities)


def check(lm):
    """Raises a UserError for a model that has not learned to fill masks."""
    missing = (lm.config.get("extras") or {}).get("missing", ())
    learned = run.predicts(lm.config) and lm.model.spec.attends == "full" and "mask" in lm.tokenizer.specials
    if not learned or any(part.startswith("head") for part in missing):
        raise UserError("fill-mask takes an encoder that was trained to fill masks (config.objective.name=masked), "
                        "with its way out to the vocabulary; this model is none")


@functools.partial(jax.jit, static_argnames="model")
def _probabilities(model, params, batch):
    def method(model, batch):
        model = model.generator if model.spec.generator else model  # ELECTRA's fills masks, the network does not
        x_BTD = model.hidden(batch["tokens"], batch["segments"], batch["positions"], types_BT=batch["types"])
        return jax.nn.softmax(model.logits(jnp.take_along_axis(x_BTD, batch["places"][..., None], axis=1)))
    return model.apply({"params": params}, batch, method=method)
