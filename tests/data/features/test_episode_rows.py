"""Episodes: labels given out anew, nothing asked that was shown, labels that stand in held-out episodes alone."""

import numpy as np
import pytest
from reading import every

import asking
from lmlab.data import cleaning
from lmlab.data.features import episodes
from lmlab.utils.errors import UserError

TOKENIZER = asking.tokenizer("bytes")
NAMES = [f"kind{n}" for n in range(12)]
FOUND = [{"text": "rare", "label": "rare"},
         *({"text": f"{name}:{n}", "label": name} for name in NAMES for n in range(7))]


def made(part="train", found=FOUND, epoch=0, **settings):
    split = asking.split(found)._replace(split=part)
    rows = episodes.features(split, TOKENIZER, length=256, windows="stream", labels=("1", "2", "3"), ways=3, shots=2,
                             queries=3, **settings)
    return rows, every(rows, epoch)


def read(batch, b):
    """[(text, label, support, weight)] of a row."""
    texts = [bytes(batch["tokens"][b][batch["segments"][b] == k + 1][1:-1].tolist()).decode() for k in range(15)]
    return list(zip(texts, *(batch[name][b].tolist() for name in ("label", "support", "weights"))))


def test_an_episode_is_five_texts_of_each_of_three_labels():
    rows, batch = made(held=0.0)
    assert rows.count == 84 // 15
    orders = set()
    for b in range(rows.count):
        found = read(batch, b)
        of = {}
        for text, label, support, weight in found:
            assert support == 1 - weight
            of.setdefault(label, []).append((text, support))
        assert [*of] == [0, 1, 2]
        for texts in of.values():
            assert len({text.split(":")[0] for text, _ in texts}) == 1 and len({text for text, _ in texts}) == 5
            assert sum(support for _, support in texts) == 2
        orders.add(tuple(texts[0][0].split(":")[0] for texts in of.values()))
    assert len(orders) > 1
    np.testing.assert_equal(batch, made(held=0.0)[1])
    assert any((batch["tokens"] != made(held=0.0, epoch=1)[1]["tokens"]).ravel())


def test_held_out_episodes_have_labels_of_their_own():
    kinds = lambda part: {text.split(":")[0] for _, batch in [made(part, held=0.5)] for b in range(len(batch["tokens"]))
                          for text, *_ in read(batch, b)}
    unseen = {name for name in NAMES if cleaning.fraction(name) < 0.5}
    assert kinds("validation") <= unseen and kinds("train") <= set(NAMES) - unseen
    assert kinds("validation") and kinds("train")


def test_too_few_labels_are_told():
    with pytest.raises(UserError, match="has 2 labels with 5 examples or more, and an episode takes 3"):
        made(found=FOUND[:15], held=0.0)
    with pytest.raises(UserError, match="length"):
        episodes.features(asking.split(FOUND), TOKENIZER, length=16, windows="stream", labels=("1", "2"), ways=2)
