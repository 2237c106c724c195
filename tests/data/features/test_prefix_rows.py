"""Prefix rows: causal rows with a cut in each piece."""

import numpy as np
import pytest
from reading import every

from lmlab.data.features import causal, prefix


@pytest.mark.parametrize("windows", ["stream", "packed"])
def test_a_prefix_is_the_beginning_of_a_piece_and_what_follows_is_weighed(distinct, numbers, windows):
    plain = every(causal.features(distinct, numbers, length=32, windows=windows), epoch=1)
    batch = every(prefix.features(distinct, numbers, length=32, windows=windows), epoch=1)
    assert all((plain[name] == batch[name]).all() for name in plain if name != "weights")
    for b in range(len(batch["tokens"])):
        segments = batch["segments"][b]
        assert not batch["prefix"][b][segments == 0].any()
        for segment in range(1, segments.max() + 1):
            inside = segments == segment
            seen, weights = batch["prefix"][b][inside], batch["weights"][b][inside]
            cut = int(seen.sum())
            assert 1 <= cut <= len(seen) and seen[:cut].all()
            # the target of place p is token p + 1: it is weighed if and only if it is no part of the prefix
            assert weights.tolist() == [float(p + 1 >= cut) for p in range(len(seen))]


def test_each_cut_is_as_likely(lay, numbers):
    split = lay([[110 + i % 5000 for i in range(8 * 4000)]])
    batch = every(prefix.features(split, numbers, length=8, windows="stream"))
    counts = np.bincount(batch["prefix"].sum(1), minlength=9)[1:]
    assert (np.abs(counts - counts.mean()) < 4 * np.sqrt(counts.mean())).all()
