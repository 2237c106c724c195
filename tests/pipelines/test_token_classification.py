"""Words and what they are, in the shapes of transformers, and grouped as it groups tokens."""

import random

import pytest

from lmlab.decoding import tagging
from lmlab.pipelines import token_classification
from lmlab.utils.errors import UserError

TEXT = "Anna Berg met Ola in Oslo. 春天"


@pytest.fixture
def said(monkeypatch):
    """(text -> Tagged) in the place of what a model says."""
    def put(function):
        monkeypatch.setattr(tagging, "tag", lambda lm, texts: [function(text) for text in texts])
        return token_classification.make(None)
    return put


def as_given(tags):
    """text -> its words with these tags, the n-th at probability 1 / (n + 2)."""
    return lambda text: tagging.Tagged([tuple(word) for word in tagging.words_of(text)], tags,
                                       [1 / (n + 2) for n in range(len(tags))])


def test_the_shapes_of_words_and_groups(said):
    call = said(as_given(["B-PER", "I-PER", "O", "B-PER", "O", "B-LOC", "O", "B-LOC", "I-LOC"]))
    words = call(TEXT)
    assert words[:2] == [{"entity": "B-PER", "score": 1 / 2, "index": 1, "word": "Anna", "start": 0, "end": 4},
                         {"entity": "I-PER", "score": 1 / 3, "index": 2, "word": "Berg", "start": 5, "end": 9}]
    assert [(one["word"], one["index"]) for one in words[2:]] == [("Ola", 4), ("Oslo", 6), ("春", 8), ("天", 9)]
    groups = call(TEXT, aggregation_strategy="simple")
    assert groups[0] == {"entity_group": "PER", "score": pytest.approx(5 / 12), "word": "Anna Berg", "start": 0,
                         "end": 9}
    assert [(one["entity_group"], one["word"]) for one in groups] == [("PER", "Anna Berg"), ("PER", "Ola"),
                                                                     ("LOC", "Oslo"), ("LOC", "春天")]
    assert call([TEXT]) == [words] and call([]) == []
    assert all(call(TEXT, aggregation_strategy=name) == groups for name in token_classification.STRATEGIES[1:])


@pytest.mark.parametrize("labels", [["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], ["NOUN", "VERB", "ADP"]])
def test_words_are_grouped_as_transformers_groups_tokens(said, labels):
    """Given our words as its tokens, whatever their tags, in IOB2 or not."""
    module = pytest.importorskip("transformers.pipelines.token_classification")
    theirs = module.TokenClassificationPipeline.__new__(module.TokenClassificationPipeline)
    theirs.tokenizer = type("Tokenizer", (), {"convert_tokens_to_string": staticmethod(" ".join)})()
    text, pick = "a b c d e f g h i j k l", random.Random(0)
    for _ in range(50):
        call = said(as_given(pick.choices(labels, k=12)))
        tokens = [dict(zip(("start", "end", "word", "score", "entity"), (*place, text[slice(*place)], score, tag)))
                  for place, tag, score in zip(*as_given(tagging.tag(None, [text])[0].tags)(text))]
        expected = [group for group in theirs.group_entities(tokens) if group["entity_group"] != "O"]
        groups = call(text, aggregation_strategy="simple")
        assert [group | {"score": pytest.approx(group["score"])} for group in expected] == groups
        assert all(isinstance(group["score"], float) for group in groups)


def test_what_cannot_be_is_refused(said):
    call = said(as_given([]))
    with pytest.raises(UserError, match="aggregation_strategy='best' is unknown; one of none, simple, first"):
        call("x", aggregation_strategy="best")
    with pytest.raises(UserError, match="'3' is no text"):
        call([3])
