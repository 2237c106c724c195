"""Conversations as rows of a decoder, which learns the answers alone: the tokens that the assistant has to make."""

import contextlib
import functools
import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lmlab.data import chat
from lmlab.data import windows as plans
from lmlab.data.features import Rows, examples
from lmlab.utils.errors import UserError


class Learned(NamedTuple):
    """A text with what of it is learned: ids (n,) int32, and weights (n,) float32, 1 at those tokens, else 0."""
    ids: np.ndarray
    weights: np.ndarray

    @property
    def size(self) -> int:
        """The places it takes in a row: each token but the last is read, each but the first is a target."""
        return len(self.ids) - 1


def learned(tokenizer, messages: list[dict]) -> list[Learned]:
    """A conversation as texts, in one of which each answer is learned exactly as it would be asked for.

    One text does for all answers, unless the template writes earlier turns in another way once more follows (without
    what was thought aloud, for one): then the conversation up to such a turn is a text of its own. An assistant's
    message that nothing comes before is no answer, and is not learned.
    """
    found = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant" and number:
            ids, start, stop = chat.turn(tokenizer, messages[:number], message["content"])
            weights = np.zeros(len(ids), np.float32)
            weights[start:stop] = 1
            if found and np.array_equal(found[-1].ids, ids[:len(found[-1].ids)]):
                before = found.pop()
                weights[:len(before.ids)] = np.maximum(weights[:len(before.ids)], before.weights)
            found.append(Learned(np.array(ids, np.int32), weights))
    return found


@functools.lru_cache(maxsize=2 ** 16)
def _fitting(tokenizer, conversation: str, length: int) -> tuple[list[Learned], bool, int]:
    """`fitting` of messages in JSON: rows of the same split are made for more than one purpose."""
    messages = json.loads(conversation)
    head, rest = ([messages[0]], messages[1:]) if messages[0]["role"] == "system" else ([], messages)
    found, cut, lost = [], False, 0
    while rest:
        begins = [0, *(i for i, message in enumerate(rest) if message["role"] == "user" and i)]
        for begin in begins:
            texts = learned(tokenizer, head + rest[begin:])
            if all(text.size <= length for text in texts):
                break
        else:
            texts, lost = [], lost + 1
        found, rest, cut = [text for text in texts if text.weights[1:].any()] + found, rest[:begin], cut or begin > 0
    return found, cut, lost


def fitting(tokenizer, messages: list[dict], length: int) -> tuple[list[Learned], bool, int]:
    """`learned` in pieces of at most `length` places: as many of the newest turns as fit, then as many before them,
    each piece with the system's message and from a user's message on.

    Returns:
      (the texts, whether it was cut, how many exchanges are left out since each alone does not fit).
    """
    return _fitting(tokenizer, json.dumps(messages), length)


def features(split, tokenizer, *, length, windows) -> Rows:
    """Rows of conversations, or of their pieces (see `fitting`), each a segment, as `rows` gives them.

    Args:
      split: of messages. tokenizer: with a chat template. length: T. windows: "stream", one conversation a row, or
        "packed", as many as fit.
    Raises:
      UserError: where nothing of them fits, or the template refuses one.
    """
    plans.check(length, windows, least=2)
    name, texts, cut, lost = f"{split.meta['name']} ({split.split})", [], 0, 0
    for number, one in enumerate(split.examples, 1):
        with named(number, name):
            mine, was_cut, left_out = fitting(tokenizer, one["messages"], length)
        texts, cut, lost = texts + mine, cut + was_cut, lost + left_out
    if cut or lost:
        examples.say(f"of the {len(split.examples)} conversations of {name}, {cut} are cut before a user's message and "
                     f"{lost} exchanges left out, being longer than config.train.length={length} tokens")
    if not texts:
        raise UserError(f"{name} has no answer that fits in config.train.length={length} tokens; raise it")
    return rows([[text] for text in texts], length, windows)


@contextlib.contextmanager
def named(number: int, name: str):
    """A context in which a UserError says which example of which split it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"example {number} of {name}: {error}") from error


def rows(groups: list[list[Learned]], length: int, windows: str, widths: dict[str, tuple] | None = None,
         values: Callable[[int], dict] = lambda number: {}) -> Rows:
    """Rows of texts that are predicted from their beginnings on, `weights` being 1 where one is learned.

    Args:
      groups: texts that stand in one row, one after the other: as many in each group, G, of at most `length` places
        together. length, windows: of the rows.
      widths: {name: (dtype, *shape)} of arrays (B, S, *shape) with a value for each group. values: group number ->
        {name: its value}.
    Returns:
      Rows of tokens, targets, segments, positions (B, T) int32, weights (B, T) float32, and those of `widths`, zeros
      where there is no group. Text g of the k-th group is segment G k + g + 1.
    """
    places = examples.in_rows([sum(text.size for text in group) for group in groups], length, windows)
    most, widths = max(map(len, places), default=1), widths or {}

    def make(numbers_B: np.ndarray, epochs_B: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        B = len(numbers_B)
        batch = {name: np.zeros((B, length), np.int32) for name in ("tokens", "targets", "segments", "positions")}
        batch["weights"] = np.zeros((B, length), np.float32)
        batch |= {name: np.zeros((B, most, *shape), kind) for name, (kind, *shape) in widths.items()}
        for b, number in enumerate(numbers_B.tolist()):
            at = segment = 0
            for k, group in enumerate(places[number] if number >= 0 else []):
                for text in groups[group]:
                    here, segment = slice(at, at + text.size), segment + 1
                    batch["tokens"][b, here], batch["targets"][b, here] = text.ids[:-1], text.ids[1:]
                    batch["segments"][b, here], batch["positions"][b, here] = segment, np.arange(text.size)
                    batch["weights"][b, here] = text.weights[1:]
                    at = here.stop
                for name, value in values(group).items():
                    batch[name][b, k] = value
        return batch

    return Rows(len(places), make)
