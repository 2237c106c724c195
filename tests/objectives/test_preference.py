"""DPO, ORPO and KTO against their papers' formulas in numpy; the reference; nothing hangs on how rows are packed."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lmlab import models, objectives, run
from lmlab.data import loader, tokenizers
from lmlab.data.examples import Split
from lmlab.data.features import preferences
from lmlab.data.tokenizers import extended, plain
from lmlab.models import transformer
from lmlab.objectives import preference
from lmlab.utils.errors import UserError

TOKENIZER = tokenizers.chatting(tokenizers.extend(plain.Bytes(), extended.SPEAKERS))
V, LENGTH = TOKENIZER.vocab_size, 48
ANSWERS = [("b", "cde"), ("", "xyz"), ("no", "q"), ("1234", "5"), ("Zz", "!?"), ("~", "}{"), ("k", "mmmm")]
PAIRS = [{"prompt": [{"role": "user", "content": "a" * n}], "chosen": chosen, "rejected": rejected}
         for n, (chosen, rejected) in enumerate(ANSWERS, 1)]


@pytest.fixture(scope="module")
def model():
    """A small decoder."""
    return models.build("transformer", vocab_size=V, context=LENGTH, width=8, layers=1, heads=2)


@pytest.fixture(scope="module")
def params(model, lively):
    """Its parameters, and those of a reference."""
    new = jax.jit(lambda key: nn.meta.unbox(transformer.init(model, key)))(jax.random.key(0))
    return lively(new), lively(new, seed=1)


def batch_of(kind, windows="packed", found=PAIRS, prepared=None):
    """All rows as one batch, of examples with a reference where `prepared` is (model, its parameters)."""
    split = Split(found, {"name": "likes"}, "train")
    if prepared:
        lm = run.LM(*prepared, TOKENIZER, None, 0)
        split = preference.prepare(lambda: lm, split, TOKENIZER, length=LENGTH, kind=kind)
    rows = preferences.features(split, TOKENIZER, length=LENGTH, windows=windows, kind=kind)
    return loader.eval_batches(rows, batch=rows.count)[0]


@functools.partial(jax.jit, static_argnums=0)
def forward(model, params, tokens):
    return model.apply({"params": params}, tokens)


def log_p(model, params, prompt, answer):
    """(sum of log p, tokens) of an answer, by itself and by a softmax in float64."""
    prompt = [258, *prompt.encode(), 256, 259]
    answer = [*answer.encode(), 256]
    tokens = np.zeros((1, LENGTH), np.int32)  # what follows changes nothing
    tokens[0, :len(prompt + answer)] = prompt + answer
    logits = np.float64(forward(model, params, tokens))[0]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return sum(log_p[len(prompt) + i - 1, token] for i, token in enumerate(answer)), len(answer)


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def told(model, params, kind, batch, **settings):
    """{name: sum / weight} of the objective."""
    terms, metrics = objectives.build("preference", vocab_size=V, kind=kind, **settings)(model.apply, params, batch)
    return {name: float(total / weight) for name, (total, weight) in {**terms, **metrics}.items()}


def both(model, params, one):
    """((sum, tokens) of the chosen, of the rejected answer)."""
    return [log_p(model, params, one["prompt"][0]["content"], one[name]) for name in ("chosen", "rejected")]


def test_dpo_is_equation_7(model, params):
    batch, beta, losses, right, margins, ratios = batch_of("dpo", prepared=(model, params[1])), 0.3, [], [], [], []
    for one in PAIRS:
        mine, theirs = both(model, params[0], one), both(model, params[1], one)
        ratio = [m[0] - t[0] for m, t in zip(mine, theirs)]
        ratios += ratio
        margins.append(beta * (ratio[0] - ratio[1]))
        losses.append(-math.log(sigmoid(margins[-1])))
        right.append(margins[-1] > 0)
    assert 0 < sum(right) < len(right)
    assert told(model, params[0], "dpo", batch, beta=beta) == pytest.approx({
        "loss": np.mean(losses), "accuracy": np.mean(right), "margin": np.mean(margins), "log_ratio": np.mean(ratios)},
        rel=1e-4)


def test_before_training_dpo_and_kto_know_nothing(model, params):
    assert told(model, params[1], "dpo", batch_of("dpo", prepared=(model, params[1])))["loss"] == pytest.approx(
        math.log(2), abs=1e-5)
    assert told(model, params[1], "kto", batch_of("kto", prepared=(model, params[1])))["loss"] == pytest.approx(
        0.5, abs=1e-5)


def test_orpo_is_equations_3_to_7(model, params):
    batch, weight, losses, right, margins = batch_of("orpo"), 0.7, [], [], []
    for one in PAIRS:
        p = [math.exp(total / count) for total, count in both(model, params[0], one)]
        odds = [each / (1 - each) for each in p]
        margins.append(math.log(odds[0] / odds[1]))
        losses.append(-math.log(p[0]) - weight * math.log(sigmoid(margins[-1])))
        right.append(p[0] > p[1])
    assert told(model, params[0], "orpo", batch, beta=weight) == pytest.approx({
        "loss": np.mean(losses), "accuracy": np.mean(right), "margin": np.mean(margins)}, rel=1e-4)


def test_kto_is_equation_8_of_each_row(model, params):
    """desirable and undesirable weigh; z is the row's mean over answers to other prompts."""
    batch = batch_of("kto", prepared=(model, params[1]))
    found = preferences.compared(PAIRS, "kto")
    after = [*found[1:], found[0]]
    ratio = lambda one, answer: (log_p(model, params[0], one["prompt"][0]["content"], answer)[0]
                                 - log_p(model, params[1], one["prompt"][0]["content"], answer)[0])
    texts = {TOKENIZER.decode(pair[0].ids): number
             for number, pair in enumerate(preferences.answers(TOKENIZER, found, "kto", "likes"))}
    beta, losses, shifts = 0.3, [], []
    for b in range(len(batch["tokens"])):
        numbers = []
        for k in range(int(batch["pairs"][b].sum())):
            mine = batch["segments"][b] == 2 * k + 1
            whole = [batch["tokens"][b][mine][0], *batch["targets"][b][mine]]
            numbers.append(texts[TOKENIZER.decode(int(i) for i in whole)])
        z = max(0.0, np.mean([ratio(found[n], after[n]["completion"]) for n in numbers]))
        shifts.append(z)
        for n in numbers:
            r = ratio(found[n], found[n]["completion"])
            good = found[n]["good"]
            losses.append(1.5 * (1 - sigmoid(beta * (r - z))) if good else 0.5 * (1 - sigmoid(beta * (z - r))))
    assert len(losses) == 2 * len(PAIRS) and max(shifts) > 0
    made = told(model, params[0], "kto", batch, beta=beta, desirable=1.5, undesirable=0.5)
    assert made["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_no_gradient_goes_through_the_shift_of_kto(model, params):
    batch = batch_of("kto", windows="stream", prepared=(model, params[1]))
    other = {**batch, "weights": batch["weights"] * (batch["segments"] == 2)}  # only what z is made of
    loss = objectives.build("preference", vocab_size=V, kind="kto")
    grads = jax.grad(lambda p: loss(model.apply, p, other)[0]["loss"][0])(params[0])
    assert all(not np.asarray(leaf).any() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("kind", [pytest.param("dpo", marks=pytest.mark.slow), "orpo"])
def test_packed_is_alone(kind, model, params, assert_close):
    prepared = None if kind == "orpo" else (model, params[1])
    loss = objectives.build("preference", vocab_size=V, kind=kind)
    batches = [batch_of(kind, windows, prepared=prepared) for windows in ("packed", "stream")]
    grads = [jax.grad(lambda p: loss(model.apply, p, batch)[0]["loss"][0])(params[0]) for batch in batches]
    assert_close(*grads, 1e-4)


@pytest.mark.parametrize("kind", preferences.KINDS)
def test_padding_and_certain_answers_are_no_nan(kind, model, params):
    batch = batch_of(kind)
    empty = {name: np.concatenate([value, np.zeros_like(value[:1])]) for name, value in batch.items()}
    sure = lambda *args, **kwargs: jax.tree.map(lambda x: 1e4 * x, model.apply(*args, **kwargs))
    loss = objectives.build("preference", vocab_size=V, kind=kind)
    for apply in (model.apply, sure):
        value, grads = jax.value_and_grad(lambda p: loss(apply, p, empty)[0]["loss"][0])(params[0])
        assert jnp.isfinite(value) and all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert told(model, params[0], kind, empty) == pytest.approx(told(model, params[0], kind, batch), rel=1e-5)


def test_what_is_refused():
    spec = models.build("transformer", vocab_size=2, context=8, width=8, layers=1, heads=2).spec
    for message, settings in {"did you mean 'dpo'": dict(kind="dpoo"), "beta=-1 must": dict(beta=-1),
                              "desirable=-1 must": dict(desirable=-1)}.items():
        with pytest.raises(UserError, match=message):
            preference.check(spec, **settings)
    encoder = models.build("transformer", vocab_size=2, context=8, width=8, layers=1, heads=2, attends="full").spec
    with pytest.raises(UserError, match="attends='full' does not go with config.objective.name='preference'"):
        preference.check(encoder)
