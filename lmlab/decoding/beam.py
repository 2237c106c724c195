"""Beam search: the most likely text, looked for along the `beams` most likely beginnings at once.

A finished text scores log p(text) / length^penalty (the convention of Hugging Face transformers), its length being the
tokens made, the end of document among them. Wu et al. (2016, eq. 14) divide by ((5 + length) / 6)^penalty instead.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from lmlab.decoding.cached import Rows


class Hypothesis(NamedTuple):
    """A finished text."""
    score: float      # log p / length^penalty
    tokens: list      # ids, the end of document the last of them unless the text was cut at the most tokens


def search(model, params, prompts, *, beams, count, length_penalty=1.0, eod=-1, start=-1):
    """The best text that is found for each prompt: a list of Hypothesis.

    At each length the 2 `beams` likeliest beginnings are looked at: those that end are finished if they are among the
    first `beams`, and of the others as many go on. A row is done when no open beginning can still win, however it went
    on, so with at least as many beams as there are texts the result is the best of all.

    Args:
      model, params, prompts, start: as in cached.continuations.
      beams: how many beginnings are kept. count: the most tokens; what reaches it is finished.
      length_penalty: above 0 favours longer texts, below 0 shorter ones. eod: the token that ends a text; -1: none.
    Raises:
      UserError: as cached.Rows does.
    """
    rows = Rows(model, params, prompts, count, start)
    begins = [len(text) for text in rows.texts]
    best = [Hypothesis(-np.inf, [])] * len(prompts)
    scores_BK, parents_R = np.zeros((len(prompts), 1), np.float32), np.arange(len(prompts))
    for length in range(1, rows.most + 1):
        read = rows.unread(rows.most - length + 1)
        *found, rows.cache = _step(rows.model, beams, rows.params, rows.cache, *read, parents_R, scores_BK)
        if length == 1:
            rows.repeat(beams)
        last = length == rows.most
        finished, going = zip(*[_divide(candidates, beams, eod, last)
                                for candidates in zip(*(x.tolist() for x in jax.device_get(found)), strict=True)],
                              strict=True)
        for b, ended in enumerate(finished):
            for total, parent, token in ended:
                score = total / length ** length_penalty
                if score > best[b].score:
                    best[b] = Hypothesis(score, rows.texts[b * beams + parent][begins[b]:] + [token])
        longest = rows.most if length_penalty > 0 else length + 1  # the length that makes the most of a log p
        hopes = [row[0][0] / longest ** length_penalty for row in going]
        if last or all(hope <= hypothesis.score for hope, hypothesis in zip(hopes, best, strict=True)):
            break
        scores_BK = np.array([[total for total, _, _ in row] for row in going], np.float32)
        parents_R = np.array([b * beams + parent for b, row in enumerate(going) for _, parent, _ in row])
        added = [token for row in going for _, _, token in row]
        rows.texts = [rows.texts[r] + [token] for r, token in zip(parents_R, added, strict=True)]
    return best


def _divide(candidates, beams, eod, last):
    """Candidates (scores, parents, tokens), the likeliest first -> (those that end, `beams` that go on)."""
    candidates = list(zip(*candidates, strict=True))
    ends = lambda candidate: last or candidate[2] == eod
    going = [c for c in candidates if not ends(c)][:beams]
    nowhere = (-np.inf, 0, 0)  # fewer than `beams` beginnings are possible
    return [c for c in candidates[:beams] if ends(c)], going + [nowhere] * (beams - len(going))


@functools.partial(jax.jit, static_argnames=("model", "beams"), donate_argnames="cache")
def _step(model, beams, params, cache, tokens_RT, positions_RT, prefix_RT, parents_R, scores_BK):
    """Reads T tokens into the cache, row r going on from what row parents_R[r] had read; R is B rows of K beams.

    Returns (scores_BC, parents_BC, tokens_BC, cache) of the 2 `beams` likeliest candidates C, the likeliest first;
    scores are sums of log p, parents beams of the same row.
    """
    # Only what the decoder has read differs between the beams of a row: the encoder's keys and values stay in place.
    layers = [{name: held if name == "memory" else held[parents_R] for name, held in layer.items()}
              for layer in cache["layers"]]
    logits_RTV, cache = model.apply({"params": params}, tokens_RT, positions_RT, {**cache, "layers": layers}, last=True,
                                    prefix_BT=prefix_RT, method="decode")
    (B, K), V = scores_BK.shape, logits_RTV.shape[-1]
    totals_BKV = scores_BK[..., None] + jax.nn.log_softmax(logits_RTV[:, -1]).reshape(B, K, V)
    scores_BC, index_BC = jax.lax.top_k(totals_BKV.reshape(B, K * V), min(2 * beams, K * V))
    return scores_BC, index_BC // V, index_BC % V, cache
