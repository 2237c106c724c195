"""Texts to the tags of their words, and to the entities that these make up."""

from typing import NamedTuple

import jax
import numpy as np

from lmlab.data.features import tagged
from lmlab.data.formats.tagged import words_of
from lmlab.decoding import headed
from lmlab.models import crf

_TEXTS = 16  # told at once


class Tagged(NamedTuple):
    """What is said of a text: the (start, end) of its words in characters, the tag of each, and how probable it is."""
    words: list[tuple[int, int]]
    tags: list[str]
    probabilities: list[float]


class Entity(NamedTuple):
    """Characters start to end (exclusive) of a text, what they are, and the mean probability of their words' tags."""
    start: int
    end: int
    label: str
    probability: float


def tag(lm, texts, words=None) -> list[Tagged]:
    """The likeliest tags of each text: where they are IOB2, among the sequences of tags that IOB2 allows, and the
    probability of each tag is that among them; otherwise of each word the likeliest.

    Args:
      lm: a model with a head for tagging. texts: N. words: (start, end) of each text's words in their order; None: they
        are found, as the format's `words_of` does.
    """
    headed.check(lm, "tagging")
    words = [words_of(text) for text in texts] if words is None else words
    cut = tagged.windows_of(lm.tokenizer, texts, words, headed.length(lm))
    scores = [[] for _ in texts]
    for window, scores_WC in zip(cut, headed.logits(lm, [one.encoded for one in cut]), strict=True):
        scores[window.text].append(scores_WC)
    transitions = lm.params.get("task_transitions", 0) + crf.legal(lm.labels)
    said = _told([np.concatenate([np.zeros((0, len(lm.labels)), np.float32), *parts]) for parts in scores], transitions)
    return [Tagged([tuple(place) for place in places], [lm.labels[number] for number in tags_W], p_W.tolist())
            for places, (tags_W, p_W) in zip(words, said, strict=True)]


def entities(said: Tagged) -> list[Entity]:
    """The entities of a text, in their order."""
    return [Entity(said.words[first][0], said.words[after - 1][1], label,
                   float(np.mean(said.probabilities[first:after])))
            for label, first, after in groups(said.tags) if label != "O"]


def groups(tags) -> list[tuple[str, int, int]]:
    """(label, first word, word after the last) of words that follow one another and have one label, which is the tag
    without B- or I-; B- always begins anew."""
    found = []
    for place, tag in enumerate(tags):
        label = tag[2:] if tag[:2] in ("B-", "I-") else tag
        if found and found[-1][0] == label and tag[:2] != "B-":
            found[-1] = (label, found[-1][1], place + 1)
        else:
            found.append((label, place, place + 1))
    return found


def _told(scores, transitions) -> list[tuple[np.ndarray, np.ndarray]]:
    """(tags_W, probabilities_W) of the scores_WC of each text."""
    tell = _together if transitions.any() else _each
    found, order = [None] * len(scores), sorted(range(len(scores)), key=lambda text: len(scores[text]))
    for start in range(0, len(order), _TEXTS):
        texts = order[start:start + _TEXTS]
        most = max(32, 1 << max(len(scores[texts[-1]]) - 1, 0).bit_length())  # few shapes to compile for
        scores_BWC = np.zeros((_TEXTS, most, scores[0].shape[1]), np.float32)
        segments_BW = np.zeros((_TEXTS, most), np.int32)
        for b, text in enumerate(texts):
            scores_BWC[b, :len(scores[text])], segments_BW[b, :len(scores[text])] = scores[text], 1
        tags_BW, p_BWC = map(np.asarray, tell(scores_BWC, segments_BW, transitions))
        p_BW = np.take_along_axis(p_BWC, tags_BW[..., None], -1)[..., 0]
        for b, text in enumerate(texts):
            found[text] = tags_BW[b, :len(scores[text])], p_BW[b, :len(scores[text])]
    return found


@jax.jit
def _each(scores_BWC, segments_BW, transitions):
    """The likeliest tag of each word, and all their probabilities, where a tag says nothing of the next."""
    return scores_BWC.argmax(-1), jax.nn.softmax(scores_BWC)


@jax.jit
def _together(scores_BWC, segments_BW, transitions):
    """The same of words whose tags hang on one another."""
    return crf.viterbi(scores_BWC, segments_BW, transitions), crf.marginals(scores_BWC, segments_BW, transitions)
