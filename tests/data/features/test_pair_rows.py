"""Source in the encoder, target in the decoder, by hand; several pairs in a row without touching."""

import numpy as np
import pytest
from reading import every

from lmlab.data.features import pairs
from lmlab.utils.errors import UserError


@pytest.fixture
def made(lay):
    """(split, its pairs as lists)."""
    rng = np.random.default_rng(0)
    documents = [rng.integers(110, 9000, rng.integers(1, 30)).tolist() for _ in range(120)]
    return lay(documents, fields=2), list(zip(documents[::2], documents[1::2]))


def read(batch):
    """Every pair of a batch as (source, what the decoder is given, targets), row by row, segment by segment."""
    for b in range(len(batch["tokens"])):
        assert batch["segments"][b].max() == batch["encoder_segments"][b].max()
        for segment in range(1, batch["segments"][b].max() + 1):
            source, target = batch["encoder_segments"][b] == segment, batch["segments"][b] == segment
            assert batch["weights"][b][target].all()
            yield (batch["encoder_tokens"][b][source].tolist(), batch["tokens"][b][target].tolist(),
                   batch["targets"][b][target].tolist())


def cut(text, length):
    """A text as it stands in a row."""
    return text[:length - 1] + [0]


@pytest.mark.parametrize("length", [40, 12])
def test_one_pair_a_row(made, numbers, length, capsys):
    split, by_hand = made
    rows = pairs.features(split, numbers, length=length, windows="stream")
    assert rows.count == 60
    expected = [(cut(source, length), [0] + cut(target, length)[:-1], cut(target, length))
                for source, target in by_hand]
    assert list(read(every(rows))) == expected
    longer = sum(max(map(len, pair)) >= length for pair in by_hand)
    assert (f"{longer} of the 60 pairs of laid out (train) are cut to config.train.length=12" in
            capsys.readouterr().err) == (length == 12)


def test_packed_pairs_are_the_same_pairs(made, numbers):
    split, by_hand = made
    rows = pairs.features(split, numbers, length=64, windows="packed")
    batch = every(rows)
    found = sorted(read(batch))
    assert found == sorted((cut(source, 64), [0] + target, cut(target, 64)) for source, target in by_hand)
    assert rows.count < 30 and batch["segments"].max() > 2  # sum of the longer sides: 60 pairs of some 20 each
    again = pairs.features(split, numbers, length=64, windows="packed")
    assert (every(again)["tokens"] == batch["tokens"]).all()


def test_plain_text_is_refused(distinct, numbers):
    with pytest.raises(UserError, match="laid out is plain text.*config.data.field"):
        pairs.features(distinct, numbers, length=32, windows="stream")
