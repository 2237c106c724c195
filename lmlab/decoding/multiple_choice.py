"""Questions with choices to the probability of each choice, by a head or by a language model as it is."""

import functools

import jax
import numpy as np

from lmlab.data import loader
from lmlab.data.features import choices, examples
from lmlab.decoding import headed
from lmlab.decoding.cached import around
from lmlab.objectives import losses
from lmlab.utils.errors import UserError

_ROWS = 8


def probabilities(lm, questions) -> list[np.ndarray]:
    """(C,) of the C choices of each question: softmax of their scores by the head, or, where the model has none, of
    their mean log-likelihood a token (`likelihoods`; its softmax ranks, and promises no more).

    Args:
      lm: a model with a head for multiple choice, or a decoder. questions: {"question", "context" (where there is
        one), "choices"}.
    """
    if lm.labels is None:
        scores = likelihoods(lm, questions)
    else:
        headed.check(lm, "multiple_choice")
        framed = choices.encode(lm.tokenizer, questions, headed.length(lm))
        said = iter(headed.logits(lm, [one for question in framed for one in question]))
        scores = [np.array([next(said)[0] for _ in question]) for question in framed]
    exps = [np.exp(score_C - score_C.max()) for score_C in scores]
    return [e_C / e_C.sum() for e_C in exps]


def likelihoods(lm, questions) -> list[np.ndarray]:
    """(C,) of each question: the mean log-likelihood a token, in nats, of each choice after the context and the
    question (Brown et al. 2020, section 2.4). What is longer than the model's context loses its beginning.

    Raises:
      UserError: for a model that is no decoder.
    """
    spec, tokenizer = lm.model.spec, lm.tokenizer
    if spec.attends != "causal" or spec.encoder_layers:
        raise UserError("only a decoder tells how likely a choice is, and this model has no head for multiple choice; "
                        "train one (config.objective.name=multiple_choice), or use a decoder")
    (before, _), encoded = around(spec, tokenizer), []
    for one in questions:
        prompt = tokenizer.encode(" ".join([*([one["context"]] if "context" in one else []), one["question"]]))
        for choice in one["choices"]:
            said = tokenizer.encode(" " + choice)[:spec.context - 1]
            ids = [*[before, *prompt][len(said) - spec.context:], *said]
            types = np.repeat([0, 1], [len(ids) - len(said), len(said)])
            encoded.append(examples.Encoded(np.array(ids, np.int32), types))
    longest = max((len(one.ids) for one in encoded), default=1)
    length = min(max(32, 1 << (longest - 1).bit_length()), spec.context)
    rows, found = examples.rows(encoded, length, "packed", {}, lambda number: {}), np.zeros(len(encoded))
    params = jax.device_put(lm.params)
    for batch in loader.eval_batches(rows, batch=_ROWS):
        of_next_BT = np.asarray(_of_next(lm.model, params, batch["tokens"], batch["segments"], batch["positions"]))
        for b, k in np.argwhere(batch["example"]).tolist():
            mine = np.flatnonzero((batch["segments"][b] == k + 1) & (batch["types"][b] == 1))
            found[batch["example"][b, k] - 1] = of_next_BT[b, mine - 1].mean()
    ends = np.cumsum([len(one["choices"]) for one in questions])
    return np.split(found, ends[:-1]) if questions else []


@functools.partial(jax.jit, static_argnames="model")
def _of_next(model, params, tokens_BT, segments_BT, positions_BT):
    """log p of each row's next tokens (B, T - 1)."""
    nll_BT, _ = losses.cross_entropy(model.apply({"params": params}, tokens_BT, segments_BT, positions_BT)[:, :-1],
                                     tokens_BT[:, 1:])
    return -nll_BT
