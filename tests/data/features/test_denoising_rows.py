"""BART's noise: how much is masked, that nothing else is lost, sentences that only change places."""

import numpy as np
import pytest
from reading import every, targets, used

from lmlab.data.features import denoising

MASK = 2


def holes(noisy, text):
    """(tokens between each two that were kept, masks between them), text being distinct ids in their order."""
    kept = [token for token in noisy if token != MASK]
    assert kept == [token for token in text if token in set(kept)]
    ends = [-1] + [text.index(token) for token in kept] + [len(text)]
    missing = np.diff(ends) - 1
    masks, run = [], 0
    for token in noisy + [None]:
        if token == MASK:
            run += 1
        else:
            masks.append(run)
            run = 0
    return missing, np.array(masks)


@pytest.mark.parametrize("windows", ["stream", "packed"])
def test_without_permutation_masks_stand_where_text_is_missing(distinct, numbers, windows):
    batch = every(denoising.features(distinct, numbers, length=64, windows=windows, permute=0.0))
    whole = []
    for b in range(len(batch["tokens"])):
        source, target = used(batch, b, "encoder_"), targets(batch, b)
        assert source[-1] == target[-1] == 0 and used(batch, b) == [0] + target[:-1]
        missing, masks = holes(source[:-1], target[:-1])
        assert missing.sum() == max(1, round(0.3 * len(target[:-1]))) and (masks[missing > 0] > 0).all()
        whole += target[:-1]
    assert whole == [token for token in distinct.tokens.tolist() if token]


def test_spans_have_poisson_s_lengths():
    text, masks, empty, rng = np.arange(110, 110 + 600), 0, 0, np.random.default_rng(0)
    for _ in range(200):
        noisy = denoising.infill(rng, text, 0.3, 3.0, MASK).tolist()
        missing, found = holes(noisy, text.tolist())
        masks += found.sum()
        empty += (found[missing == 0]).sum()  # masks that were only put in, and touch no other span
    assert abs(masks / 200 - 180 / 3) < 2  # 180 tokens in spans of 3 on average; the last is cut
    assert 0.5 < empty / (masks * np.exp(-3)) < 1  # those of no tokens; some stand beside another span


def test_masked_places_are_spread_evenly_but_for_the_ends():
    hits, rng = np.zeros(40), np.random.default_rng(0)
    for _ in range(8000):
        noisy = denoising.infill(rng, np.arange(110, 150), 0.3, 3.0, MASK)
        hits[list(set(range(40)) - set((noisy[noisy != MASK] - 110).tolist()))] += 1
    assert hits.sum() == 12 * 8000 and (np.abs(hits[6:-6] / 8000 - 0.3) < 0.04).all()
    assert hits[0] > 0.1 * 8000 and hits[-1] > 0.1 * 8000


def test_random_texts_keep_their_length_and_order():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        text = np.arange(110, 110 + rng.integers(1, 60))
        rate, mean = rng.uniform(0, 1), rng.uniform(0.1, 8)
        noisy = denoising.infill(rng, text, rate, mean, MASK).tolist()
        missing, _ = holes(noisy, text.tolist())
        assert missing.sum() == max(1, round(rate * len(text))) and len(noisy) <= len(text)


def test_sentences_change_places_whole(distinct, numbers):
    tiny = 1e-9  # one token is masked
    rows = denoising.features(distinct, numbers, length=128, windows="packed", rate=tiny)
    batch, moved = every(rows), 0
    for b in range(len(batch["tokens"])):
        source, text = used(batch, b, "encoder_")[:-1], targets(batch, b)[:-1]
        starts = [0] + [i + 1 for i, token in enumerate(text[:-1]) if token % 10 == 9]
        sentence = {token: sum(start <= i for start in starts) for i, token in enumerate(text)}
        seen = [sentence[token] for token in source if token != MASK]
        order = [seen[i] for i in range(len(seen)) if i == 0 or seen[i] != seen[i - 1]]
        assert len(order) == len(set(order)) and len(set(text) - set(source)) == 1
        moved += order != sorted(order)
    assert moved > 30
    half = every(denoising.features(distinct, numbers, length=128, windows="packed", rate=tiny, permute=0.0))
    for b in range(len(half["tokens"])):
        kept = [token for token in used(half, b, "encoder_")[:-1] if token != MASK]
        assert kept == sorted(kept)
