"""Span corruption: T5's published figures, text put together again, and how random the masks are; UL2's mixture."""

import numpy as np
import pytest
from reading import every, targets, used

from lmlab.data.features import spans, ul2
from lmlab.utils.errors import UserError

MARKS = set(range(4, 104))  # extra_99 to extra_0


def rebuilt(source, target):
    """The text that a source and its target make, by plain lists; both without eod. Checks the sentinels' order."""
    parts, order = {}, []
    for token in target:
        if token in MARKS:
            order.append(token)
            parts[token] = []
        else:
            parts[order[-1]].append(token)
    assert order == list(range(103, 103 - len(order), -1)) == [token for token in source if token in MARKS]
    assert all(parts.values())
    return [token for one in source for token in (parts[one] if one in MARKS else [one])]


def texts(batch, marked=False):
    """Every row's text, put together; checks the decoder's inputs and the eods on the way."""
    for b in range(len(batch["tokens"])):
        source, target = used(batch, b, "encoder_"), targets(batch, b)
        if source:
            assert source[-1] == target[-1] == 0 and 0 not in source[:-1] + target[:-1]
            assert used(batch, b) == [0] + target[:-1]  # eod starts the decoder
            yield rebuilt(source[marked:-1], target[:-1])


@pytest.mark.parametrize("length, rate, mean, raw, target", [
    (512, 0.15, 3.0, 568, 114),  # Raffel et al. 2020 as released: 512 inputs come of 568 tokens, with 114 targets
    (114, 0.15, 3.0, 126, 26), (512, 0.15, 32.0, 598, 94)])
def test_lengths_of_the_published_recipe(length, rate, mean, raw, target):
    assert spans.raw_length(length, rate, mean) == raw
    noise = round(raw * rate)
    assert spans.sizes(raw, rate, mean) == (length, target) == (raw - noise + round(noise / mean) + 1,
                                                                noise + round(noise / mean) + 1)


@pytest.mark.parametrize("windows", ["stream", "packed"])
@pytest.mark.parametrize("sampler", ["t5", "unbiased"])
def test_inputs_and_targets_make_the_text(distinct, numbers, windows, sampler):
    rows = spans.features(distinct, numbers, length=64, windows=windows, sampler=sampler)
    for epoch in (0, 3):
        batch = every(rows, epoch)
        found = [token for text in texts(batch) for token in text]
        if epoch == 0:
            assert len(found) == len(set(found))
            whole = [token for token in distinct.tokens.tolist() if token]
            lone = len(whole) - len(found)  # texts of one token are left out
            assert set(found) <= set(whole) and lone <= sum(np.diff(distinct.offsets) == 2)
            assert found == [token for token in whole if token in set(found)]
    full = (batch["encoder_segments"] > 0).sum(1)
    if windows == "stream":
        assert set(full[:-1]) == ({64} if sampler == "t5" else {63, 64})


def test_windows_of_512_hold_what_t5_s_hold(lay, numbers):
    split = lay([[110 + i % 5000 for i in range(568 * 3)]])
    batch = every(spans.features(split, numbers, length=512, windows="stream"))
    assert batch["encoder_tokens"].shape == (3, 512) and batch["targets"].shape == (3, 114)
    assert batch["encoder_segments"].all() and batch["weights"].all()


@pytest.mark.parametrize("n", [2, 3, 9, 30, 127, 568])
@pytest.mark.parametrize("sampler", ["t5", "unbiased"])
def test_masks_have_the_noise_they_should(n, sampler):
    for seed in range(50):
        mask = spans.noise_mask(np.random.default_rng(seed), n, 0.15, 3.0, sampler)
        noise = max(1, round(0.15 * n))
        assert mask.shape == (n,) and mask.sum() == noise
        begins = np.count_nonzero(np.diff(np.concatenate([[0], mask])) == 1)
        assert begins - max(1, round(noise / 3)) in ((0,) if sampler == "t5" else (0, 1))


def test_t5_s_own_mask_is_not_random_below_thirty_tokens_and_the_other_is():
    masks = lambda n, sampler, draws: np.stack([spans.noise_mask(np.random.default_rng(seed), n, 0.15, 3.0, sampler)
                                                for seed in range(draws)])
    for n in range(2, 30):
        found = masks(n, "t5", 20)
        noise = max(1, round(0.15 * n))
        assert (found == (np.arange(n) >= n - noise)).all()  # always the end of the text, and nothing else
    assert len(np.unique(masks(40, "t5", 20), axis=0)) > 10
    for n in (12, 29, 64):
        draws = 6000
        often = masks(n, "unbiased", draws).mean(0)
        share = max(1, round(0.15 * n)) / n
        assert (np.abs(often - share) < 4 * np.sqrt(share * (1 - share) / draws)).all()
    assert not masks(64, "t5", 500)[:, 0].any() and masks(64, "t5", 500)[:, -1].all()  # T5's bias in longer texts


def test_every_way_of_cutting_is_as_likely():
    counts = {}
    for seed in range(6000):
        cut = tuple(spans._parts(np.random.default_rng(seed), 5, 3).tolist())
        counts[cut] = counts.get(cut, 0) + 1
    ways = {(a, b, 5 - a - b) for a in range(1, 4) for b in range(1, 5 - a)}
    assert counts.keys() == ways and all(abs(count - 1000) < 4 * np.sqrt(1000) for count in counts.values())


def test_corrupting_by_hand():
    source, target = spans.corrupt(np.arange(10, 18), np.array([1, 0, 0, 1, 1, 0, 0, 1], bool), np.array([9, 8, 7]), 0)
    assert source.tolist() == [9, 11, 12, 8, 15, 16, 7, 0] and target.tolist() == [9, 10, 8, 13, 14, 7, 17, 0]


def test_random_texts_are_put_together_again():
    marks = np.arange(103, 3, -1)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        n, rate, mean = int(rng.integers(2, 90)), rng.uniform(0.05, 0.6), rng.uniform(1, 9)
        text = rng.integers(110, 120, n)
        sampler = ("t5", "unbiased")[seed % 2]
        mask = spans.noise_mask(rng, n, rate, mean, sampler)
        source, target = spans.corrupt(text, mask, marks, 0)
        assert rebuilt(source.tolist()[:-1], target.tolist()[:-1]) == text.tolist()
        size = np.array(spans.sizes(n, rate, mean))
        assert (size <= (len(source), len(target))).all() and ((len(source), len(target)) <= size + (seed % 2)).all()


def test_a_split_shorter_than_a_window_and_one_of_a_single_token(lay, numbers):
    batch = every(spans.features(lay([[120, 121, 122], [123]]), numbers, length=64, windows="stream"))
    assert list(texts(batch)) == [[120, 121, 122, 123]]
    for module in (spans, ul2):
        batch = every(module.features(lay([[120]]), numbers, length=64, windows="stream"))
        assert len(batch["tokens"]) == 1 and not any(array.any() for array in batch.values())


def test_too_few_sentinels_are_named(distinct, numbers):
    with pytest.raises(UserError, match="config.train.length=2048: a row would have 114 spans.* 100 sentinels"):
        spans.features(distinct, numbers, length=2048, windows="stream")
    with pytest.raises(UserError, match="config.train.length=1024: a row would have .* 97 sentinels"):
        ul2.features(distinct, numbers, length=1024, windows="stream")


@pytest.mark.parametrize("windows", ["stream", "packed"])
def test_ul2_makes_the_text_again_behind_its_mark(distinct, numbers, windows):
    batch = every(ul2.features(distinct, numbers, length=64, windows=windows), epoch=2)
    assert set(batch["encoder_tokens"][:, 0]) <= {4, 5, 6, 0}  # extra_99, extra_98, extra_97, padding
    places = {token: i for i, token in enumerate(token for token in distinct.tokens.tolist() if token)}
    for text in texts(batch, marked=True):
        assert (np.diff([places[token] for token in text]) == 1).all()


def test_ul2_s_shares_and_denoisers(lay, numbers):
    split = lay([[110 + i % 9000 for i in range(400_000)]])
    rows = ul2.features(split, numbers, length=256, windows="stream", regular=0.5, extreme=0.3, sequential=0.2)
    batch = every(rows)
    kinds, n = batch["encoder_tokens"][:, 0], len(batch["tokens"])
    for mark, share in ((4, 0.5), (5, 0.3), (6, 0.2)):
        assert abs((kinds == mark).sum() - share * n) < 3 * np.sqrt(n * share * (1 - share))
    noise = ((batch["targets"] >= 110) & (batch["weights"] > 0)).sum(1)
    raw = noise[:-1] + (batch["encoder_tokens"][:-1] >= 110).sum(1)
    assert len(set(raw)) == 1
    holes = ((batch["encoder_tokens"] > 6) & (batch["encoder_tokens"] < 104)).sum(1)
    share = noise[:-1] / raw
    assert np.allclose(share[kinds[:-1] == 4], 0.15, atol=0.01)
    extreme = share[kinds[:-1] == 5]
    assert set(np.round(extreme, 1)) == {0.1, 0.2, 0.5} or set(np.round(extreme, 2)) == {0.15, 0.5}
    assert abs((extreme > 0.3).mean() - 2 / 3) < 3 * np.sqrt(2 / 9 / len(extreme))
    sequential = kinds == 6
    assert (holes[sequential] == 1).all()
    for b in np.flatnonzero(sequential)[:50]:
        assert used(batch, b, "encoder_")[-2] == 103  # extra_0 stands for the end of the text
    assert share[sequential[:-1]].max() <= 0.5 and share[sequential[:-1]].min() < 0.2


def test_a_decoder_start_of_the_tokenizer_s_own(distinct, numbers):
    class Started(type(numbers)):
        def __init__(self):
            super().__init__()
            self.specials = self.specials | {"decoder_start": 3}

    batch = every(spans.features(distinct, Started(), length=64, windows="stream"))
    assert (batch["tokens"][:, 0] == 3).all()
