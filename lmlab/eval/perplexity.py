"""Exact scores over a split: every row once, the ragged last batch padded with zero weight."""

import math

import jax


def make_scorer(model, objective):
    """(params, batch) -> {term or metric: (sum, weight)} in float32, compiled once; no dropout."""
    @jax.jit
    def score(params, batch):
        terms, metrics = objective(model.apply, params, {k: v for k, v in batch.items() if k != "row"})
        return {**terms, **metrics}
    return score


def totals(score, params, batches, put=lambda batch: batch) -> dict:
    """Sums `score` over batches in float64: {name: (sum, weight)}."""
    sums = {}
    ready = None
    # One batch is read back while the next is computed.
    for batch in [*range(len(batches)), None]:
        computing = None if batch is None else score(params, put(batches[batch]))
        if ready is not None:
            for name, (total, weight) in jax.device_get(ready).items():
                old = sums.get(name, (0.0, 0.0))
                sums[name] = (old[0] + float(total), old[1] + float(weight))
        ready = computing
    return sums


def summarise(sums, *, n_bytes, n_words, unit="text") -> dict:
    """Scores of a split from its totals.

    Args:
      sums: what `totals` gives; "loss" holds nats and how many of the unit. n_bytes, n_words: of the text, UTF-8 and
        whitespace-separated. unit: what the loss is a mean over, as run.unit tells it.
    Returns:
      loss (nats a unit) and every other metric as a mean; how many of the unit; of tokens perplexity (a token);
      of a whole text also word_perplexity and bits_per_byte (the end-of-document tokens are paid for, their bytes are
      not counted).
    """
    nats, count = sums["loss"]
    scores = {name: total / max(weight, 1e-9) for name, (total, weight) in sums.items()}
    if unit not in ("text", "token"):
        return scores | {f"{unit}s": int(count)}
    scores |= {"perplexity": _exp(scores["loss"]), "tokens": int(count)}
    return scores if unit == "token" else scores | {"word_perplexity": _exp(nats / max(n_words, 1)),
                                                    "bits_per_byte": nats / math.log(2) / max(n_bytes, 1)}


def _exp(x):
    return math.exp(x) if x < 700 else math.inf


def evaluator(model, objective, batches, meta, put=lambda batch: batch, unit="text"):
    """params -> the scores of one split (`summarise`), compiled at the first call.

    batches: eval_batches of the split. meta: its counts from the token store. put: rows -> device arrays.
    unit: as in `summarise`.
    """
    score = make_scorer(model, objective)

    def evaluate(params):
        params = jax.tree.map(lambda x: x if isinstance(x, jax.Array) else jax.device_put(x), params)
        sums = totals(score, params, batches, put)
        return summarise(sums, n_bytes=meta["bytes"], n_words=meta["words"], unit=unit)
    return evaluate
