"""Masking: proportions within 3 sigma, whole words, nothing special; and pairs of sentences that are what they say."""

import numpy as np
import pytest
from reading import every, used

from lmlab.data.features import masked, sentence_pairs
from lmlab.utils.errors import UserError

SPECIAL = {0, 1, 2, 3, *range(4, 104)}


@pytest.fixture
def long(lay):
    """A store of 60 documents of some 2,000 random ids."""
    rng = np.random.default_rng(1)
    return lay([rng.integers(110, 20000, rng.integers(1500, 2500)).tolist() for _ in range(60)])


def near(successes, trials, share):
    """Whether a count is within 3 sigma of its binomial's mean."""
    return abs(successes - share * trials) <= 3 * np.sqrt(trials * share * (1 - share))


@pytest.mark.parametrize("spans", ["token", "word", "ngram"])
def test_eighty_ten_ten(long, numbers, spans):
    rows = masked.features(long, numbers, length=512, windows="stream", spans=spans)
    kinds, epoch = np.zeros(3), 0
    while kinds.sum() < 100_000:
        batch = every(rows, epoch)
        chosen = batch["weights"] > 0
        inputs, original = batch["tokens"][chosen], batch["original"][chosen]
        kinds += [(inputs == 2).sum(), ((inputs != 2) & (inputs != original)).sum(), (inputs == original).sum()]
        assert (batch["tokens"][~chosen] == batch["original"][~chosen]).all()
        assert (batch["targets"] == batch["original"]).all()
        assert not SPECIAL & set(original.tolist()) and not (SPECIAL - {2}) & set(inputs.tolist())
        epoch += 1
    others = 1 - 1 / (20000 - 104)  # a random token may be the one that it replaces
    for count, share in zip(kinds, (0.8, 0.1 * others, 0.1 + 0.1 * (1 - others))):
        assert near(count, kinds.sum(), share)


@pytest.mark.parametrize("settings, kinds", [({"mask_share": 1.0, "random_share": 0.0}, (1, 0, 0)),
                                             ({"mask_share": 0.0, "random_share": 1.0}, (0, 1, 0)),
                                             ({"mask_share": 0.0, "random_share": 0.0}, (0, 0, 1))])
def test_other_shares(long, numbers, settings, kinds):
    batch = every(masked.features(long, numbers, length=256, windows="packed", **settings))
    chosen = batch["weights"] > 0
    inputs, original = batch["tokens"][chosen], batch["original"][chosen]
    found = (inputs == 2).mean(), ((inputs != 2) & (inputs != original)).mean(), (inputs == original).mean()
    assert np.allclose(found, kinds, atol=1e-3)


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.5])
@pytest.mark.parametrize("windows", ["stream", "packed"])
def test_as_many_tokens_as_bert_takes(distinct, numbers, rate, windows):
    batch = every(masked.features(distinct, numbers, length=64, windows=windows, rate=rate))
    for tokens, weights in zip(batch["original"], batch["weights"]):
        free = sum(token not in SPECIAL for token in tokens.tolist())
        assert weights.sum() == max(1, round(rate * free))


def test_each_place_is_chosen_as_often(long, numbers):
    rows = masked.features(long, numbers, length=34, windows="stream")
    total, hits = 0, np.zeros(34)
    for epoch in range(3):
        batch = every(rows, epoch)
        plain = (batch["original"][:, 1:33] > 3).all(1)  # no end of a document inside
        hits += batch["weights"][plain].sum(0)
        total += plain.sum()
    share = round(0.15 * 32) / 32
    assert not hits[[0, 33]].any()
    assert (np.abs(hits[1:33] - share * total) < 4 * np.sqrt(total * share * (1 - share))).all()


@pytest.mark.parametrize("windows", ["stream", "packed"])
def test_rows_hold_the_text_once_between_cls_and_eod(distinct, numbers, windows):
    batch = every(masked.features(distinct, numbers, length=48, windows=windows))
    found = []
    for b in range(len(batch["tokens"])):
        original, segments = batch["original"][b], batch["segments"][b]
        for segment in range(1, segments.max() + 1):
            text = original[segments == segment].tolist()
            assert text[0] == 1 and text[-1] == 0 and 1 not in text[1:]
            assert windows == "stream" or 0 not in text[:-1]
            found += [token for token in text if token not in SPECIAL]
    assert sorted(found) == sorted(token for token in distinct.tokens.tolist() if token)
    if windows == "stream":  # the ends of documents stand in the rows
        assert sum(0 in used(batch, b)[:-1] for b in range(len(batch["tokens"]))) > 10


def by_hand(numbers, tokens):
    """Words as runs of places, read off the pieces' text."""
    words = []
    for place, token in enumerate(tokens):
        if token in SPECIAL:
            continue
        goes_on = numbers.piece(token)[0] == "c" and place and tokens[place - 1] not in SPECIAL \
            and numbers.piece(tokens[place - 1]) != "."
        if goes_on:
            words[-1].append(place)
        else:
            words.append([place])
    return words


@pytest.mark.parametrize("spans", ["word", "ngram"])
def test_words_are_masked_whole(long, numbers, spans):
    batch = every(masked.features(long, numbers, length=128, windows="packed", spans=spans))
    together = short = 0
    for b in range(200):
        original, chosen = batch["original"][b].tolist(), batch["weights"][b] > 0
        words = by_hand(numbers, original[:len(used(batch, b))])
        for word in words:
            assert chosen[word].all() or not chosen[word].any()
            together += len(word) > 1 and chosen[word[0]]
        want = max(1, round(0.15 * sum(map(len, words))))
        assert want - 6 <= chosen.sum() <= want
        short += want - chosen.sum()
    assert together > 100 and short < 20


def test_a_word_too_long_for_the_rate_is_masked_in_part(lay, numbers):
    continued = [i for i in range(121, 400, 4) if i % 10 != 9][:30]
    batch = every(masked.features(lay([[120, *continued]]), numbers, length=64, windows="packed", spans="word"))
    assert batch["weights"].sum() == round(0.15 * 31) and batch["weights"][0, 1] == 1


def test_runs_of_words_have_albert_s_lengths(lay, numbers):
    words = np.random.default_rng(0).choice([i for i in range(110, 9000) if i % 4 != 1 and i % 10 != 9], 200_000)
    rows = masked.features(lay([words.tolist()]), numbers, length=20_002, windows="stream", rate=0.01, spans="ngram")
    counts = np.zeros(7)
    for weights in np.concatenate([every(rows, epoch)["weights"] for epoch in range(3)]):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], weights, [0]])))
        counts += np.bincount(np.minimum(edges[1::2] - edges[::2], 6), minlength=7)
    expected = np.array([6, 3, 2]) / 11  # p(n) = (1 / n) / (1 + 1/2 + 1/3)
    assert np.allclose(counts[1:4] / counts.sum(), expected, atol=0.03)


def where(split):
    """(document, place) of every id of a store of distinct ids."""
    document = np.searchsorted(split.offsets, np.arange(len(split.tokens)), "right") - 1
    return {int(token): (int(document[i]), i) for i, token in enumerate(split.tokens) if token}


@pytest.mark.parametrize("kind", ["next_sentence", "sentence_order"])
@pytest.mark.parametrize("short", [0.0, 1.0])
def test_pairs_are_what_their_label_says(distinct, numbers, kind, short):
    places = where(distinct)
    rows = masked.features(distinct, numbers, length=40, windows="stream", pairs=kind, short=short)
    lengths, at_sentence, ends = {0: [], 1: []}, 0, 0
    for epoch in range(4):
        batch = every(rows, epoch)
        for b in range(rows.count):
            text, types = batch["original"][b], batch["types"][b]
            n = len(used(batch, b))
            assert text[0] == 1 and text[n - 1] == 0 and types[0] == 0 and types[n - 1] == 1 and not types[n:].any()
            cut = text[:n - 1].tolist().index(0)
            assert types[:n].tolist() == [0] * (cut + 1) + [1] * (n - cut - 1)
            first, second = text[1:cut].tolist(), text[cut + 1:n - 1].tolist()
            pair = batch["pair"][b]
            if pair and kind == "sentence_order":
                first, second = second, first
            spots = [places[token] for token in first + second]
            assert first and second and all(np.diff([i for _, i in spots if _ == spots[0][0]]) == 1)
            together = len({document for document, _ in spots}) == 1
            assert together == (not pair or kind == "sentence_order")
            lengths[int(pair)].append(len(second))
            ends += 1
            at_sentence += first[-1] % 10 == 9
    assert at_sentence > (0.3 if short else 0.6) * ends
    assert abs(np.mean(lengths[0]) - np.mean(lengths[1])) < 0.15 * np.mean(lengths[0])


def test_half_of_the_pairs_are_real(distinct, numbers):
    count, row = sentence_pairs.examples(distinct, numbers, 24, "stream", "sentence_order", 0.1)
    from lmlab.data.features import generator
    draws = 100_000
    labels = sum(row(i % count, 0, generator(0, i // count, i % count))["pair"] for i in range(draws))
    assert near(labels, draws, 0.5)
    rows = masked.features(distinct, numbers, length=24, windows="stream", pairs="next_sentence")
    labels = np.concatenate([every(rows, epoch)["pair"] for epoch in range(20)])
    assert near(labels.sum(), len(labels), 0.5)


def test_the_share_of_short_pairs(lay, numbers):
    split = lay([[110 + i % 5000 for i in range(20_000)], list(range(120, 140))])
    full = []
    for short in (0.0, 0.1):
        batch = every(masked.features(split, numbers, length=43, windows="stream", pairs="sentence_order", short=short))
        full.append(int((batch["segments"][:500] > 0).all(1).sum()))
    assert full[0] == 500 and near(500 - full[1], 500, 0.1 * 38 / 39)  # of the lengths from 2 to 40 one is 40


def test_one_document_pairs_with_another_place_of_itself(lay, numbers):
    split = lay([list(range(110, 1110))])
    batch = every(masked.features(split, numbers, length=43, windows="stream", pairs="next_sentence", short=0.0))
    for b in np.flatnonzero(batch["pair"]):
        text = used(batch, b)
        before, after = (batch["original"][b][place] for place in (text.index(0) - 1, text.index(0) + 1))
        assert after != before + 1
    with pytest.raises(UserError, match="config.objective.pairs=next_sentence: laid out has 1 pieces"):
        masked.features(lay([[200, 201]]), numbers, length=43, windows="stream", pairs="next_sentence")
    with pytest.raises(UserError, match="config.objective.pairs=sentence_order: laid out has 0 pieces"):
        masked.features(lay([[200], [201]]), numbers, length=43, windows="stream", pairs="sentence_order")
