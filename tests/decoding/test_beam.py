"""Beam search against every text there is, and against a search in plain Python that keeps no cache and never stops
early."""

import jax
import numpy as np
import pytest

from lmlab.decoding import beam

EOD = 0
PROMPTS = [[3], [1, 2, 3, 1, 2], [2, 2, 1]]


def log_p(logits_BV):
    """log softmax in float64."""
    logits_BV = np.float64(logits_BV)
    logits_BV = logits_BV - logits_BV.max(-1, keepdims=True)
    return logits_BV - np.log(np.exp(logits_BV).sum(-1, keepdims=True))


def every_text(made, prompt, count, vocab):
    """(log p, tokens) of every text that ends with EOD or has `count` tokens."""
    level = [(0.0, [], made.view(prompt))]
    for length in range(1, count + 1):
        logits, views = made.next([view for _, _, view in level], prompt)
        grown = [(total + new[v], [*tokens, v], ((*view[0], v), *view[1:]))
                 for (total, tokens, _), new, view in zip(level, log_p(logits), views, strict=True)
                 for v in range(vocab)]
        ended = [g for g in grown if g[1][-1] == EOD or length == count]
        yield from ((total, tokens) for total, tokens, _ in ended)
        level = [g for g in grown if g[1][-1] != EOD]


def plain_search(made, prompt, beams, count, penalty, eod=EOD):
    """(score, tokens) of the best text that ends among the first `beams` candidates of some length."""
    level, ended = [(0.0, [], made.view(prompt))], []
    for length in range(1, count + 1):
        logits, views = made.next([view for _, _, view in level], prompt)
        grown = [(total + p, [*tokens, v], ((*view[0], v), *view[1:]))
                 for (total, tokens, _), new, view in zip(level, log_p(logits), views, strict=True)
                 for v, p in enumerate(new)]
        grown = sorted(grown, key=lambda g: -g[0])[:2 * beams]
        done = lambda g: g[1][-1] == eod or length == count
        ended += [(total / length ** penalty, tokens) for total, tokens, _ in filter(done, grown[:beams])]
        level = [g for g in grown if not done(g)][:beams]
    return max(ended)


def search(made, prompts, **settings):
    settings = {"eod": EOD, "start": made.start, **settings}
    return beam.search(made.model, made.params, prompts, **settings)


@pytest.mark.parametrize("penalty", [-1.0, 0.0, 2.0])
@pytest.mark.parametrize("family", ["decoder", "prefix_relative", "t5"])
def test_wide_beams_find_the_best_of_all_texts(make, bucket, family, penalty):
    """With four tokens there are 121 texts of at most four, and at most 108 candidates of one length."""
    made = make(family, 10, 4)
    found = search(made, PROMPTS, beams=108, count=4, length_penalty=penalty)
    for prompt, hypothesis in zip(PROMPTS, found, strict=True):
        texts = list(every_text(made, prompt, 4, 4))
        assert len(texts) == 121 and sum(np.exp(total) for total, _ in texts) == pytest.approx(1)
        score, tokens = max((total / len(tokens) ** penalty, tokens) for total, tokens in texts)
        assert hypothesis.tokens == tokens
        assert hypothesis.score == pytest.approx(score, abs=1e-5)


@pytest.mark.parametrize("family,beams,penalty,count,eod", [
    ("decoder", 1, 1.0, 8, 5), ("decoder", 3, 1.0, 20, 5), ("rotary", 4, 2.0, 20, 5),
    ("prefix", 3, 0.7, 20, 5), ("prefix_relative", 2, -0.5, 9, 5), ("t5", 3, 1.0, 9, 0),
    ("bart", 4, 0.3, 30, 4), ("bart", 2, 1.5, 30, 1),
], ids=str)
def test_narrow_beams_equal_a_plain_search(make, bucket, ragged, family, beams, penalty, count, eod):
    """A ragged batch as each prompt alone, some beyond the context; the target of an encoder-decoder ends there."""
    made = make(family, 10, 7)
    prompts = ragged(made.model, 7)
    found = search(made, prompts, beams=beams, count=count, length_penalty=penalty, eod=eod)
    for row, (prompt, hypothesis) in enumerate(zip(prompts, found, strict=True)):
        most = min(count, 10) if made.model.spec.encoder_layers else count
        score, tokens = plain_search(made, prompt, beams, most, penalty, eod)
        assert hypothesis.tokens == tokens, f"row {row}"
        assert hypothesis.score == pytest.approx(score, abs=1e-4)


def test_without_an_end_of_document_all_texts_are_of_one_length(make):
    made = make("decoder", 10, 7)
    (found,) = search(made, [[1, 2]], beams=3, count=5, eod=-1)
    assert found.tokens == plain_search(made, [1, 2], 3, 5, 1.0, eod=-1)[1] and len(found.tokens) == 5


def test_a_row_does_not_depend_on_the_rows_beside_it(make, ragged):
    made = make("t5", 10, 7)
    prompts = ragged(made.model, 7)
    together = search(made, prompts, beams=3, count=9)
    assert [h.tokens for h in together] == [search(made, [p], beams=3, count=9)[0].tokens for p in prompts]


def test_it_stops_when_no_beginning_can_win_and_compiles_few_shapes(make, monkeypatch):
    made = make("decoder", 10, 7)
    shapes = []
    step = beam._step

    def noted(model, beams, params, *rest):
        shapes.append(str(jax.tree.map(np.shape, rest)))
        return step(model, beams, params, *rest)
    eod = search(made, PROMPTS[1:2], beams=3, count=5, eod=-1)[0].tokens[2]
    monkeypatch.setattr(beam, "_step", noted)
    (found,) = search(made, PROMPTS[1:2], beams=3, count=500, length_penalty=0.0, eod=eod)
    assert found.tokens[-1] == eod
    assert len(found.tokens) <= len(shapes) < 50 and len(set(shapes)) <= 4


def test_nothing_is_made_of_a_count_of_zero(make):
    assert search(make("decoder", 10, 7), [[1]], beams=2, count=0)[0].tokens == []
