"""The noisy channel, with its product worked out by hand."""

from lmlab.eval import confusion
from lmlab.eval.metrics import edits


def test_what_was_confused_in_training_is_put_right_where_the_bigrams_say_so():
    train = [("teh cat sat", "the cat sat"), ("their dog", "their dog"), ("over their", "over there")] * 3
    assert confusion.correct(train, ["teh dog", "their cat", "over their", "zebras  run"], "word") == [
        "the dog", "their cat", "over there", "zebras  run"]  # what is not changed keeps its blanks


def test_the_best_of_the_product_is_taken():
    """Every candidate for the one character that was confused, scored by hand."""
    train = [("他在来", "他再来"), ("我在家", "我在家"), ("在来", "再来"), ("你在吗", "你在吗")]
    units = [edits.units(right, "character") for _, right in train]
    flat = [unit for text in units for unit in (*text, "")]
    pairs = [pair for text in units for pair in zip(["", *text], [*text, ""])]
    likely = lambda a, b: (0.7 * pairs.count((a, b)) / flat.count(a) if a in flat else 0) + 0.3 * (
        flat.count(b) + 1) / (len(flat) + len(set(flat)) + 1)
    written = {"再": (2 + 1), "在": (2 + 1)}
    channel = {"再": 2 / written["再"], "在": written["在"] / written["在"]}  # p(在 | meant)
    for text in ("她在来", "她在家", "在"):
        place = text.index("在")
        around = ["", *text, ""]
        best = max("再在", key=lambda c: likely(around[place], c) * likely(c, around[place + 2]) * channel[c])
        assert confusion.correct(train, [text], "character") == [text.replace("在", best)]


def test_without_training_nothing_is_changed():
    assert confusion.correct([], ["teh  cat", ""], "word") == ["teh  cat", ""]
