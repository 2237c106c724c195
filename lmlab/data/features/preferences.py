"""Preferences as rows: two answers to a prompt side by side, each a segment, of which the answers alone count."""

import functools
import json

import numpy as np

from lmlab.data import chat
from lmlab.data import windows as plans
from lmlab.data.features import Rows, check_choice, dialogue, examples
from lmlab.utils.errors import UserError

KINDS = ("dpo", "orpo", "kto")


def compared(found: list[dict], kind: str) -> list[dict]:
    """The examples as an objective of this kind compares them: pairs of answers, for kto every answer by itself, first
    all that are preferred. UserError where there is one answer and a pair is wanted."""
    check_choice("kind", kind, KINDS)
    if kind != "kto":
        if any("chosen" not in one for one in found):
            raise UserError(f"config.objective.kind={kind} compares two answers to a prompt, and some examples have "
                            "one; use kto")
        return found
    single = lambda one, name, good: {"prompt": one["prompt"], "completion": one[name], "good": good}
    return [*(one for one in found if "chosen" not in one),
            *(single(one, name, good) for name, good in (("chosen", True), ("rejected", False))
              for one in found if "chosen" in one)]


def answers(tokenizer, found: list[dict], kind: str, name: str) -> list[tuple[dialogue.Learned, dialogue.Learned]]:
    """The two answers to the prompt of each of `compared`'s examples: the chosen and the rejected one; for kto its own
    and that of the next example, which says how likely any answer is (Ethayarajh et al. 2024, section 4.1)."""
    pairs = [(one["completion"], after["completion"]) if kind == "kto" else (one["chosen"], one["rejected"])
             for one, after in zip(found, [*found[1:], *found[:1]])]
    texts = []
    for number, (one, pair) in enumerate(zip(found, pairs), 1):
        with dialogue.named(number, name):
            texts.append(tuple(answer(tokenizer, json.dumps(one["prompt"]), content) for content in pair))
    return texts


def fitting(texts: list[tuple], length: int) -> list[int]:
    """The numbers of the pairs that take at most `length` places."""
    return [number for number, pair in enumerate(texts) if sum(text.size for text in pair) <= length]


@functools.lru_cache(maxsize=2 ** 16)
def answer(tokenizer, prompt: str, content: str) -> dialogue.Learned:
    """An answer after its prompt, messages in JSON; kept, since rows of a split are made for more than one purpose."""
    ids, start, stop = chat.turn(tokenizer, json.loads(prompt), content)
    places = np.arange(len(ids))
    return dialogue.Learned(np.array(ids, np.int32), ((places >= start) & (places < stop)).astype(np.float32))


def features(split, tokenizer, *, length, windows, kind: str = "dpo") -> Rows:
    """Rows of pairs of answers, each answer with its prompt; a pair that does not fit in a row is left out.

    Args:
      split: of preferences; those of dpo and kto with "reference", the log-likelihoods of the two answers by the
        network that training begins from (objectives.preference.prepare); without, they are taken for 0.
      tokenizer: with a chat template. length: T. windows: "stream", a pair a row, or "packed", as many as fit.
      kind: see `compared`.
    Returns:
      Rows as `dialogue.rows` gives them, the k-th pair being segments 2 k + 1 and 2 k + 2, with pairs (B, S) float32, 1
      where there is one; good (B, S) float32, 0 where an answer of kto is not; reference (B, S, 2) float32.
    Raises:
      UserError: where no pair fits, or the template refuses a prompt.
    """
    plans.check(length, windows, least=4)
    found, name = compared(split.examples, kind), f"{split.meta['name']} ({split.split})"
    texts = answers(tokenizer, found, kind, name)
    fits = fitting(texts, length)
    if not fits:
        raise UserError(f"{name} has no pair of answers that, each with its prompt, fits in config.train.length="
                        f"{length} tokens; raise it")
    if len(fits) < len(texts):
        examples.say(f"{len(texts) - len(fits)} of the {len(texts)} pairs of answers of {name} are left out, being "
                     f"longer than config.train.length={length} tokens, each answer with its prompt")
    widths = {"pairs": (np.float32,), "good": (np.float32,), "reference": (np.float32, 2)}
    values = lambda number: {"pairs": 1, "good": found[fits[number]].get("good", True),
                             "reference": found[fits[number]].get("reference", (0, 0))}
    return dialogue.rows([texts[number] for number in fits], length, windows, widths, values)
