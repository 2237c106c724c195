"""The conditional random field against all sequences of tags, one by one, in float64."""

import itertools

import jax
import numpy as np
import pytest

from lmlab.data.formats.tagged import iob2
from lmlab.models import crf

C = 3
LENGTHS = ((3, 1), (4,), (2, 2), ())  # of the sequences of each row of 5 words; the last row is padding
RNG = np.random.default_rng(0)
SEGMENTS = np.array([[*np.repeat(np.arange(len(row)) + 1, row), *[0] * (5 - sum(row))] for row in LENGTHS], np.int32)
SCORES = RNG.normal(size=(4, 5, C)).astype(np.float32) * 2
TAGS = np.where(SEGMENTS > 0, RNG.integers(0, C, (4, 5)), 0)
TRANSITIONS = RNG.normal(size=(C + 2, C)).astype(np.float32) * 2


def every_sequence(scores_WC, transitions):
    """(tags, score) of all sequences of W tags, added up step by step."""
    for tags in itertools.product(range(len(scores_WC[0])), repeat=len(scores_WC)):
        score = sum(float(scores_WC[w][tag]) for w, tag in enumerate(tags))
        score += float(transitions[-2][tags[0]]) + float(transitions[-1][tags[-1]])
        yield tags, score + sum(float(transitions[a][b]) for a, b in itertools.pairwise(tags))


def sequences():
    """(row, words of it) of every sequence."""
    for row, lengths in enumerate(LENGTHS):
        for end, length in zip(itertools.accumulate(lengths), lengths):
            yield row, slice(end - length, end)


def softmax(scored):
    """{tags: probability} of (tags, score)."""
    tags, scores = zip(*scored)
    e = np.exp(np.array(scores) - max(scores))
    return dict(zip(tags, e / e.sum()))


def test_the_likelihood_is_that_of_all_sequences_enumerated():
    expected = np.zeros(4)
    for row, words in sequences():
        expected[row] += np.log(softmax(every_sequence(SCORES[row, words], TRANSITIONS))[tuple(TAGS[row, words])])
    np.testing.assert_allclose(crf.log_likelihood(SCORES, TAGS, SEGMENTS, TRANSITIONS), expected, rtol=1e-5)


def test_its_gradient_is_what_there_is_less_what_is_expected():
    """Of log p, by every score and transition: its count in the tags less its mean count over all sequences."""
    d_scores, d_transitions = np.zeros_like(SCORES, np.float64), np.zeros_like(TRANSITIONS, np.float64)

    def count(row, words, tags, times):
        for word, tag in zip(range(words.start, words.stop), tags):
            d_scores[row, word, tag] += times
        for before, tag in itertools.pairwise([C, *tags]):
            d_transitions[before, tag] += times
        d_transitions[C + 1, tags[-1]] += times
    for row, words in sequences():
        count(row, words, TAGS[row, words].tolist(), 1)
        for tags, p in softmax(every_sequence(SCORES[row, words], TRANSITIONS)).items():
            count(row, words, tags, -p)
    total = lambda scores, transitions: crf.log_likelihood(scores, TAGS, SEGMENTS, transitions).sum()
    found = jax.grad(total, (0, 1))(SCORES, TRANSITIONS)
    np.testing.assert_allclose(found[0], d_scores, atol=1e-5)
    np.testing.assert_allclose(found[1], d_transitions, atol=1e-5)


@pytest.mark.parametrize("names", [("a", "b", "c"), ("O", "B-X", "I-X"), ("B-X", "I-X", "I-Y")])
def test_the_best_sequence_and_the_marginals_are_those_of_all_enumerated(names):
    """Where IOB2 forbids steps, they are those of the sequences without them (given any: a word may have none)."""
    transitions = TRANSITIONS + crf.legal(names)
    best, marginals = crf.viterbi(SCORES, SEGMENTS, transitions), crf.marginals(SCORES, SEGMENTS, transitions)
    for row, words in sequences():
        scored = [(tags, score) for tags, score in every_sequence(SCORES[row, words], TRANSITIONS)
                  if iob2([names[tag] for tag in tags]) == [names[tag] for tag in tags]]
        assert tuple(best[row, words].tolist()) == max(scored, key=lambda one: one[1])[0]
        expected = np.zeros((words.stop - words.start, C))
        for tags, p in softmax(scored).items():
            expected[np.arange(len(tags)), tags] += p
        np.testing.assert_allclose(marginals[row, words], expected, atol=1e-5)
    assert not np.any(best * (SEGMENTS == 0)) and not np.any(np.asarray(marginals)[SEGMENTS == 0])


def test_a_step_is_legal_where_the_format_would_not_mend_it():
    names = ["O", "B-X", "I-X", "B-Y", "I-Y", "B-A-B", "I-A-B"]
    steps = crf.legal(names)
    for (i, before), (j, after) in itertools.product(enumerate(names), repeat=2):
        start = [before] if before[0] != "I" else ["B" + before[1:], before]
        assert (steps[i, j] == 0) == (iob2([*start, after])[-1] == after)
    assert [names[j] for j in range(7) if steps[7, j]] == ["I-X", "I-Y", "I-A-B"] and not steps[8].any()
    assert not crf.legal(["I-VERB", "NOUN"]).any()


def test_packed_sequences_are_each_as_if_alone():
    rows = list(sequences())
    packed = {"likelihood": crf.log_likelihood(SCORES, TAGS, SEGMENTS, TRANSITIONS),
              "best": crf.viterbi(SCORES, SEGMENTS, TRANSITIONS),
              "marginals": crf.marginals(SCORES, SEGMENTS, TRANSITIONS)}
    likelihood = np.zeros(4)
    for row, words in rows:
        one = [a[row:row + 1, words] for a in (SCORES, TAGS, SEGMENTS)]
        likelihood[row] += crf.log_likelihood(*one, TRANSITIONS)[0]
        np.testing.assert_array_equal(packed["best"][row, words], crf.viterbi(one[0], one[2], TRANSITIONS)[0])
        np.testing.assert_allclose(packed["marginals"][row, words], crf.marginals(one[0], one[2], TRANSITIONS)[0],
                                   atol=1e-6)
    np.testing.assert_allclose(packed["likelihood"], likelihood, rtol=1e-5)


def test_what_stands_in_padding_changes_nothing():
    noise = np.where((SEGMENTS == 0)[..., None], 1e3 * RNG.normal(size=SCORES.shape), SCORES).astype(np.float32)
    wrong = np.where(SEGMENTS == 0, C - 1, TAGS)
    total = jax.value_and_grad(lambda *args: crf.log_likelihood(args[0], args[2], SEGMENTS, args[1]).sum(), (0, 1))
    clean, noisy = (jax.tree.leaves(total(*args))
                    for args in ((SCORES, TRANSITIONS, TAGS), (noise, TRANSITIONS, wrong)))
    for a, b in zip(clean, noisy, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(crf.viterbi(SCORES, SEGMENTS, TRANSITIONS), crf.viterbi(noise, SEGMENTS, TRANSITIONS))


def test_long_sequences_stay_finite():
    scores, segments = 30 * RNG.normal(size=(1, 400, C)).astype(np.float32), np.ones((1, 400), np.int32)
    transitions = TRANSITIONS + crf.legal(("O", "B-X", "I-X"))
    tags = crf.viterbi(scores, segments, transitions)
    value, gradient = jax.value_and_grad(lambda s: crf.log_likelihood(s, tags, segments, transitions).sum())(scores)
    assert np.isfinite(value) and value <= 0 and np.isfinite(gradient).all()
