"""Linear-chain conditional random fields (Lafferty et al. 2001): tags that follow one another, as pure functions.

A sequence of n words has p(tags) = exp(score(tags)) / Z, with score(tags) = transitions[C, tag_1] + scores_1[tag_1] +
transitions[tag_1, tag_2] + ... + scores_n[tag_n] + transitions[C + 1, tag_n]. A row holds one sequence after another,
the k-th being segment k, and padding (segment 0) after the last. The arrays that all functions take:
  scores_BWC   of each tag at each word, float32
  segments_BW  of each word, int
  transitions  (C + 2, C): row i of tag i to each tag, row C of the beginning to each, row C + 1 of each to the end
"""

import jax
import jax.numpy as jnp
import numpy as np

FORBIDDEN = -1e9  # added to a transition, no sequence of tags that has it is ever the best


def is_iob2(names) -> bool:
    """Whether tags are those of entities: O, B-TYPE and I-TYPE."""
    return all(name == "O" or name[:2] in ("B-", "I-") for name in names)


def legal(names) -> np.ndarray:
    """(C + 2, C) float32 to be added to transitions: FORBIDDEN where IOB2 has no such step, which is to an I-TYPE from
    anything but B-TYPE and I-TYPE; zeros for tags of another kind. names: of the C tags."""
    steps = np.zeros((len(names) + 2, len(names)), np.float32)
    if is_iob2(names):
        for column, name in enumerate(names):
            if name[:2] == "I-":
                steps[:-1, column] = [0 if before[:1] in "BI" and before[2:] == name[2:] else FORBIDDEN
                                      for before in [*names, "O"]]
    return steps


def log_likelihood(scores_BWC, tags_BW, segments_BW, transitions):
    """(B,): the sum of log p(tags) over the sequences of each row."""
    return _score(scores_BWC, tags_BW, segments_BW, transitions) - log_partition(scores_BWC, segments_BW, transitions)


def log_partition(scores_BWC, segments_BW, transitions):
    """(B,): the sum of log Z over the sequences of each row, by the forward algorithm in log space."""
    def step(before_BC, now):
        scores_BC, first_B = now
        between_BC = jax.nn.logsumexp(before_BC[:, :, None] + transitions[:-2], axis=1)
        after_BC = scores_BC + jnp.where(first_B[:, None], transitions[-2], between_BC)
        return after_BC, after_BC

    first_BW, last_BW = _ends(segments_BW)
    # Without the checkpoint the backward pass would keep C x C numbers a word.
    _, alpha_WBC = jax.lax.scan(jax.checkpoint(step), jnp.zeros_like(scores_BWC[:, 0]),
                                (jnp.moveaxis(scores_BWC, 1, 0), first_BW.T))
    whole_WB = jax.nn.logsumexp(alpha_WBC + transitions[-1], axis=-1)
    return jnp.where(last_BW.T, whole_WB, 0).sum(0)


def marginals(scores_BWC, segments_BW, transitions):
    """(B, W, C): the probability of each tag at each word, which is the derivative of log Z by its score."""
    return jax.grad(lambda scores_BWC: log_partition(scores_BWC, segments_BW, transitions).sum())(scores_BWC)


def viterbi(scores_BWC, segments_BW, transitions):
    """(B, W) int32: the likeliest tags of each sequence (Viterbi 1967), 0 at padding; of equals the first."""
    def forward(before_BC, now):
        scores_BC, first_B = now
        paths_BCC = before_BC[:, :, None] + transitions[:-2]
        best_BC = jnp.where(first_B[:, None], transitions[-2], paths_BCC.max(1))
        return scores_BC + best_BC, (scores_BC + best_BC, paths_BCC.argmax(1))

    def backward(after_B, now):
        """after_B: the tag that the one here has by the word that follows it."""
        alpha_BC, back_BC, last_B = now
        tag_B = jnp.where(last_B, (alpha_BC + transitions[-1]).argmax(-1), after_B)
        return jnp.take_along_axis(back_BC, tag_B[:, None], 1)[:, 0], tag_B

    first_BW, last_BW = _ends(segments_BW)
    scores_WBC = jnp.moveaxis(scores_BWC, 1, 0)
    _, (alpha_WBC, back_WBC) = jax.lax.scan(forward, jnp.zeros_like(scores_WBC[0]), (scores_WBC, first_BW.T))
    _, tags_WB = jax.lax.scan(backward, jnp.zeros_like(back_WBC[0, :, 0]), (alpha_WBC, back_WBC, last_BW.T),
                              reverse=True)
    return jnp.where(segments_BW > 0, tags_WB.T, 0).astype(jnp.int32)


def _score(scores_BWC, tags_BW, segments_BW, transitions):
    """(B,): the sum of score(tags) over the sequences of each row."""
    first_BW, last_BW = _ends(segments_BW)
    before_BW = jnp.where(first_BW, len(transitions) - 2, jnp.roll(tags_BW, 1, axis=1))
    here_BW = jnp.take_along_axis(scores_BWC, tags_BW[..., None], -1)[..., 0] + transitions[before_BW, tags_BW]
    here_BW += jnp.where(last_BW, transitions[-1][tags_BW], 0)
    return jnp.where(segments_BW > 0, here_BW, 0).sum(1)


def _ends(segments_BW):
    """(whether a sequence begins at a word, whether one ends there), each (B, W)."""
    edge_B1 = jnp.full_like(segments_BW[:, :1], -1)
    first_BW = segments_BW != jnp.concatenate([edge_B1, segments_BW[:, :-1]], 1)
    last_BW = segments_BW != jnp.concatenate([segments_BW[:, 1:], edge_B1], 1)
    return first_BW & (segments_BW > 0), last_BW & (segments_BW > 0)
