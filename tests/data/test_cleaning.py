"""Deduplication and overlap, against the long way round with plain strings."""

import random

from lmlab.data import cleaning

LONG = "This paragraph is long enough to be worth removing when it is seen a second time, word for word."


def test_lone_surrogates_become_replacement_characters_and_pairs_are_joined():
    assert cleaning.valid_unicode("a\ud800b") == "a\ufffdb"
    assert cleaning.valid_unicode("\ud83d\ude00 \udc00") == "😀 \ufffd"
    assert cleaning.valid_unicode("plain \U0001f600") == "plain \U0001f600"


def test_fraction_is_the_same_on_every_machine_and_blind_to_spacing():
    # first 8 bytes of sha256("hello world") = b94d27b9934d3e08..., a published test value
    assert cleaning.fraction(" hello \n world ") == 0xb94d27b9934d3e08 / 2**64
    places = [cleaning.fraction(str(i)) for i in range(2000)]
    assert 0.47 < sum(places) / 2000 < 0.53 and 0 <= min(places) and max(places) < 1


def test_document_deduplication_keeps_the_first_of_each_and_drops_blanks():
    texts = ["b", "a  a", "", " \n", "a a", "b", "A a"]
    assert list(cleaning.deduplicate(texts, "document")) == ["b", "a  a", "A a"]
    assert list(cleaning.deduplicate(texts, "none")) == ["b", "a  a", "a a", "b", "A a"]


def test_paragraph_deduplication_cuts_long_paragraphs_seen_before_and_keeps_short_ones():
    spaced = LONG.replace(" is ", "  is ")
    texts = [f"One.\n\n{LONG}", f"Two.\n\n{spaced}\n\nShort.", LONG, "Short.\n\nThree."]
    assert list(cleaning.deduplicate(texts, "paragraph")) == [texts[0], "Two.\n\nShort.", "Short.\n\nThree."]


def test_overlap_equals_a_count_with_string_sets():
    rng = random.Random(0)
    words = ["one", "two", "three", "Four", "五", "sechs"]

    def texts(n):
        return [" ".join(rng.choices(words, k=rng.randint(1, 40))) for _ in range(n)]

    def grams(text, n):
        parts = text.lower().split()
        return [tuple(parts[i:i + n]) for i in range(len(parts) - n + 1)]

    train, held = texts(60), texts(20)
    for n in (1, 3, 5, 13):
        known = {gram for text in train for gram in grams(text, n)}
        found = [gram in known for text in held for gram in grams(text, n)]
        share = cleaning.overlap(lambda: train, {"test": lambda: held}, n=n)["test"]
        assert abs(share - sum(found) / len(found)) < 1e-12


def test_overlap_of_copies_is_one_and_of_short_text_zero():
    chinese = "床前明月光疑是地上霜举头望明月低头思故乡"
    shares = cleaning.overlap(lambda: [LONG, chinese], {"copy": lambda: [chinese], "short": lambda: ["a b"]})
    assert shares == {"copy": 1.0, "short": 0.0}
