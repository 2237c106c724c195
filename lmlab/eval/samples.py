"""What a model makes of text, to be read by people: continuations, answers to sources, masked tokens guessed."""

import functools

import jax
import numpy as np

from lmlab import run
from lmlab.data.features import sequences
from lmlab.decoding.cached import continuations
from lmlab.decoding.sampling import Sampler
from lmlab.decoding.text import generate
from lmlab.objectives import losses


def write(lm, batches, evals, seed) -> str:
    """`evals.samples` samples as one text, a line of three dashes between them.

    Args:
      lm: the model. batches: evaluation batches, whose first rows are answered or guessed at where the model does not
        simply continue `evals.prompt`. evals: config.evals. seed: of the draws.
    """
    if lm.model.spec.attends == "full":
        texts = _guesses(lm, batches[0], evals.samples)
    elif lm.model.spec.encoder_layers:
        texts = _answers(lm, batches[0], evals, seed)
    elif run.reads(lm.config) in ("messages", "preferences"):
        texts = _replies(lm, batches[0], evals, seed)
    else:
        texts = [evals.prompt + text for text in generate(
            lm, [evals.prompt] * evals.samples, seed=seed, max_new_tokens=evals.sample_tokens,
            temperature=evals.temperature)]
    return "\n\n---\n\n".join(texts) + "\n"


def spell(tokenizer, ids) -> str:
    """The text of ids, special tokens written out as <role>."""
    roles = {i: role for role, i in tokenizer.specials.items() if i != tokenizer.eod}
    text, run = "", []
    for i in [*ids, None]:
        if i is None or i in roles or i == tokenizer.eod:
            text += tokenizer.decode(run) + (f"<{roles[i]}>" if i in roles else "")
            run = []
        else:
            run.append(i)
    return text


def _answers(lm, batch, evals, seed):
    """The first sources of a batch, what the model makes of them, and what it should."""
    eod = lm.tokenizer.eod
    first = lambda name: [ids[segments == 1].tolist() for ids, segments in zip(
        batch[name], batch["encoder_segments" if name == "encoder_tokens" else "segments"])]
    pairs = [pair for pair in zip(first("encoder_tokens"), first("targets")) if pair[0]][:evals.samples]
    if not pairs:  # the first rows are texts too short to learn from
        return []
    steps = list(continuations(lm.model, lm.params, [source for source, _ in pairs], Sampler(evals.temperature),
                               count=evals.sample_tokens, seed=seed, eod=eod,
                               start=sequences.start_of(lm.tokenizer)))
    made = np.stack(steps, axis=1).tolist()
    cut = lambda ids: ids[:ids.index(eod)] if eod in ids else ids
    return [f"{spell(lm.tokenizer, source)}\n=> {spell(lm.tokenizer, cut(ids))}\n(is {spell(lm.tokenizer, target)})"
            for (source, target), ids in zip(pairs, made)]


def _replies(lm, batch, evals, seed):
    """The first prompt of each of a batch's rows, the model's reply and the one that is there."""
    told = []
    for ids, targets, weights in _first_texts(batch)[:evals.samples]:
        begin = int(weights.argmax())
        told.append((ids[:begin + 1].tolist(), targets[begin:][weights[begin:] > 0].tolist()))
    replies = generate(lm, [prompt for prompt, _ in told], seed=seed, max_new_tokens=evals.sample_tokens,
                       temperature=evals.temperature)
    return [f"{spell(lm.tokenizer, prompt)}\n=> {reply}\n(is {spell(lm.tokenizer, target)})"
            for (prompt, target), reply in zip(told, replies)]


def _first_texts(batch):
    """(tokens, targets, weights) of the first segment of each row that has one."""
    names = ("tokens", "targets", "weights")
    firsts = enumerate(batch["segments"] == 1)
    return [tuple(batch[name][b][mine] for name in names) for b, mine in firsts if mine.any()]


def _guesses(lm, batch, count):
    """The first rows of a masked batch, each masked token as [guess], or [guess|original] where the guess is wrong."""
    batch = {name: value[:count] for name, value in batch.items() if name != "row"}
    guessed_BT = np.asarray(_likeliest(lm.model, lm.params, batch))
    return [_filled(lm.tokenizer, *row) for row in zip(batch["original"], guessed_BT, batch["weights"],
                                                       batch["segments"]) if row[-1].any()]


@functools.partial(jax.jit, static_argnames="model")
def _likeliest(model, params, batch):
    """The likeliest token of every place, by the model or by its generator where it has one: (B, T)."""
    part = "generator" if model.spec.generator else ""
    x_BTD, _ = losses.states(model.apply, params, batch, None, part)
    logits = lambda model, x_BTD: (getattr(model, part) if part else model).logits(x_BTD)
    return model.apply({"params": params}, x_BTD, method=logits).argmax(-1)


def _filled(tokenizer, original, guessed, weights, segments):
    ids, text = [], ""
    for token, guess, weight in zip(*(a[segments > 0].tolist() for a in (original, guessed, weights))):
        before = tokenizer.decode(ids)
        added = lambda i: tokenizer.decode([*ids, i])[len(before):]
        word, other = added(token), added(guess)
        text += word if not weight else f"[{other}]" if token == guess else f"[{other}|{word}]"
        ids.append(token)
    return text
