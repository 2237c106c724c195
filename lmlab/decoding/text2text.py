"""Many texts to texts, in batches of few shapes: what comes of one does not depend on the others."""

import itertools
import sys

from tqdm import tqdm

from lmlab.data import chat
from lmlab.data.cleaning import valid_unicode
from lmlab.decoding import headed
from lmlab.decoding.text import generate
from lmlab.utils.errors import UserError

ROWS = 32  # sources a batch
STEP = 32  # the most new tokens are a multiple of it: of each a program is compiled
LONG = 4   # batches from which on a bar is shown, on a terminal


def answers(lm, sources, *, task="", beams=1, max_new_tokens=None, temperature=0.0, **settings) -> list[str]:
    """What the model makes of each source: greedily, or by beam search.

    Args:
      lm: what lmlab.load gives: an encoder-decoder; or a decoder with a chat template, where `task` is one of
        chat.INSTRUCTIONS, which it is told before the source.
      sources: texts; of an encoder-decoder cut where they are longer than those that it learned from, of a decoder also
        messages that ask in other words.
      max_new_tokens: None: of an encoder-decoder as many as the source has and STEP more, rounded up to a multiple of
        STEP, but no more than it learned to make; of a decoder four STEP.
      beams, temperature, settings: of text.generate; drawn where beams is 1 and the temperature above 0.
    Raises:
      UserError: for another model, what is no text, and as generate does.
    """
    check(lm, task)
    ids = [_ids(lm, source, task) for source in sources]
    learned = headed.length(lm)
    if longer := sum(len(row) > learned for row in ids) if lm.model.spec.encoder_layers else 0:
        print(f"{longer} of {len(ids)} sources are cut to {learned} tokens, as in training", file=sys.stderr)
        ids = [row if len(row) <= learned else [*row[:learned - 1], lm.tokenizer.eod] for row in ids]
    most = [_most(lm, len(row)) if max_new_tokens is None else max_new_tokens for row in ids]
    common = dict(beams=beams, temperature=temperature, **settings)
    if beams == 1 and temperature != 0:  # draws go by the row
        return generate(lm, ids, max_new_tokens=max(most, default=1), **common)
    texts, batches = [""] * len(ids), list(_batches(ids, most))
    for rows in tqdm(batches, unit="batch", leave=False, disable=len(batches) < LONG or None):
        # A power of two of rows, the last of them several times, and texts of like length: few shapes.
        padded = rows + rows[-1:] * ((1 << (len(rows) - 1).bit_length()) - len(rows))
        made = generate(lm, [ids[row] for row in padded], max_new_tokens=most[rows[0]], **common)
        for row, text in zip(rows, made):
            texts[row] = text.strip()
    return texts


def check(lm, task=""):
    """Raises a UserError for a model that answers no text: neither an encoder-decoder nor, where there are instructions
    for the task, a decoder that chats."""
    generate(lm, [])  # says what is wrong with a model that makes no text at all
    if not lm.model.spec.encoder_layers and not (task in chat.INSTRUCTIONS and lm.tokenizer.chat_template):
        chats = ", or of a decoder with a chat template" if task in chat.INSTRUCTIONS else ""
        raise UserError(f"this is asked of an encoder-decoder{chats}; what a decoder makes of a text tells "
                        'lmlab.pipeline("text-generation", ...)')


def _ids(lm, source, task):
    """What the model reads of a source. What its tokenizer does not know stays unknown."""
    tokenizer, chats = lm.tokenizer, not lm.model.spec.encoder_layers
    if chats and isinstance(source, list):
        return chat.encode_chat(tokenizer, source)
    if not isinstance(source, str):
        raise UserError(f"{str(source)[:80]!r} is no text; give a string or a list of strings")
    if chats:
        return chat.encode_chat(tokenizer, chat.asked(task, source))
    ids = (tokenizer.specials.get("bos", -1), *tokenizer.encode(valid_unicode(source)), tokenizer.eod)
    return [i for i in ids if i >= 0]


def _most(lm, read):
    """The most tokens that are made of `read` of them."""
    if not lm.model.spec.encoder_layers:
        return 4 * STEP
    return min(-(-read // STEP) * STEP + STEP, headed.length(lm))


def _batches(ids, most):
    """Rows that go together: as many tokens are made of them, and they are of like length."""
    order = sorted(range(len(ids)), key=lambda row: (most[row], len(ids[row])))
    for _, group in itertools.groupby(order, key=most.__getitem__):
        rows = list(group)
        yield from (rows[start:start + ROWS] for start in range(0, len(rows), ROWS))
