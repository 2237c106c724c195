"""Questions and contexts to answers, cut from the context as it is written."""

import itertools
import math

import numpy as np

from lmlab.data.cleaning import valid_unicode
from lmlab.data.features import questions
from lmlab.decoding import headed
from lmlab.utils.errors import UserError


def answers(lm, asked, *, top_k=1, max_answer_len=30, handle_impossible_answer=False, threshold=0.0,
            stride=None) -> list[list[dict]]:
    """The best answers to each question, the best first.

    An answer's score is p(start) p(end), each a softmax over the first token, which stands for no answer, and the
    context's tokens of one window. The score of no answer is the least that any window of the question gives it: one
    window that holds an answer is enough.

    Args:
      lm: a model with a head for question answering. asked: [(question, context), ...]. top_k: the most answers each.
      max_answer_len: the most tokens of an answer. handle_impossible_answer: no answer, "", is one of the answers; it
        goes before those for which log(its score / theirs) is above `threshold`.
      stride: as features.questions.cut takes it; None: the one of training.
    Returns:
      [[{"text", "start", "end" (characters of the context), "score", "no_answer_score"}, ...], ...]. Tokens of the same
      characters (in other windows, say) are one answer. Where a context has none at all, it is no answer.
    """
    for name, value in {"top_k": top_k, "max_answer_len": max_answer_len}.items():
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{name}={value!r} must be a whole number, at least 1")
    headed.check(lm, "question_answering")
    asked = [(valid_unicode(question), valid_unicode(context)) for question, context in asked]
    stride = lm.config.objective.stride if stride is None else stride
    windows = questions.cut(lm.tokenizer, [one for one, _ in asked], [context for _, context in asked],
                            headed.length(lm), stride)
    said = zip(windows, headed.logits(lm, [window.encoded for window in windows]), strict=True)
    out = []
    for number, group in itertools.groupby(said, lambda pair: pair[0].question):
        read = [(window, *spans(window, logits_N2, max_answer_len)) for window, logits_N2 in group]
        none = min(none for *_, none in read)
        found = _best(asked[number][1], read, top_k)
        if handle_impossible_answer or not found:
            found.append({"text": "", "start": 0, "end": 0, "score": none})
            found.sort(key=lambda one: -one["score"] * (1 if one["text"] else math.exp(-threshold)))
        out.append([one | {"no_answer_score": none} for one in found[:top_k]])
    return out


def spans(window, logits_N2, most) -> tuple[np.ndarray, float]:
    """The scores of a window's answers (P, L), that of P's first token and L tokens after it, below 0 where that is out
    of the window; and the score of no answer.

    logits_N2: of the window's tokens. most: L, the most tokens of an answer.
    """
    x_N2 = np.float64(logits_N2[[0, *range(window.head, len(logits_N2) - 1)]])
    p_N2 = np.exp(x_N2 - x_N2.max(0))
    p_N2 /= p_N2.sum(0)
    (none, start_P), (no_end, end_P) = ((p_N[0], p_N[1:]) for p_N in p_N2.T)
    last_PL = np.arange(len(start_P))[:, None] + np.arange(most)
    inside_PL = last_PL < len(end_P)
    return np.where(inside_PL, start_P[:, None] * end_P[last_PL * inside_PL], -1.0), float(none * no_end)


def _best(context, read, top_k) -> list[dict]:
    """The best `top_k` answers of all windows, [(window, scores, ...)]: no two of the same characters, none blank."""
    scores = np.concatenate([scores_PL.ravel() for _, scores_PL, _ in read])
    ends = np.cumsum([scores_PL.size for _, scores_PL, _ in read])
    found = {}
    for flat in np.argsort(-scores, kind="stable").tolist():
        if scores[flat] < 0 or len(found) == top_k:
            break
        number = int(np.searchsorted(ends, flat, side="right"))
        window, scores_PL, _ = read[number]
        first, more = np.unravel_index(flat - ends[number] + scores_PL.size, scores_PL.shape)
        place = questions.characters(window, context, window.head + first, window.head + first + more)
        if place[0] < place[1]:
            found.setdefault(place, {"text": context[slice(*place)], "start": place[0], "end": place[1],
                                     "score": float(scores[flat])})
    return list(found.values())
