"""Relations between entities: what a call may give, and what comes back."""

import itertools

import numpy as np
import pytest

import asking
import lmlab
import tasks
from lmlab.data.features import relations as features
from lmlab.decoding import relations
from lmlab.utils.errors import UserError

TEXT = "the cat sat on mat in paris"
ENTITIES = [{"start": 4, "end": 7, "label": "animals"}, {"start": 15, "end": 18, "label": "here"},
            {"start": 22, "end": 27, "label": "towns"}]


@pytest.fixture(scope="module")
def lm():
    return tasks.model("relations")


def test_probabilities_are_those_of_each_pair_alone(lm):
    """One pair a row: the first half of the outputs at the head's mark, the second at the tail's."""
    p_PC, none_PC = relations.probabilities(lm, [(TEXT, ENTITIES), (TEXT, ENTITIES[:1])])
    pairs = list(itertools.permutations(range(3), 2))
    for one, p_C in zip(features.encode(lm.tokenizer, TEXT, ENTITIES, pairs, 64), p_PC, strict=True):
        scores_2X = asking.alone(lm, one.ids, one.types)[one.places]
        logits_C = scores_2X[0, :3] + scores_2X[1, 3:]
        np.testing.assert_allclose(p_C, np.exp(logits_C) / np.exp(logits_C).sum(), atol=1e-5)
    assert p_PC.shape == (6, 3) and none_PC.shape == (0, 3) and relations.probabilities(lm, []) == []


def test_what_is_said_is_the_likeliest_that_is_not_none(lm):
    call, (p_PC,) = lmlab.pipeline("relation-extraction", lm), relations.probabilities(lm, [(TEXT, ENTITIES)])
    said = call(text=TEXT, entities=ENTITIES)
    assert said == [{"head": head, "tail": tail, "relation": lm.labels[p_C.argmax()], "score": pytest.approx(p_C.max())}
                    for (head, tail), p_C in zip(itertools.permutations(range(3), 2), p_PC) if p_C.argmax()]
    assert 0 < len(said) < 6
    one = {"text": TEXT, "entities": [{"entity_group": entity["label"], "start": entity["start"], "end": entity["end"],
                                       "score": 0.5} for entity in ENTITIES]}  # as token-classification gives them
    assert call(one) == said and call([one, one | {"entities": []}]) == [said, []] and call([]) == []


@pytest.mark.parametrize("given, message", [
    ("Ann", "'Ann' is no text with entities"), ({"text": TEXT}, "is no text with entities; give"),
    ({"text": TEXT, "entities": [ENTITIES[0], {"start": 5, "end": 5, "label": "a"}]},
     r"entities\[1\] of 'the cat sat on mat in paris' must have a start and an end in its 27 characters"),
    ({"text": TEXT, "entities": [{"start": 0, "end": 28, "label": "a"}]}, r"entities\[0\] of"),
    ({"text": TEXT, "entities": [{"start": 0, "end": 1}]}, "and a label"),
    ({"text": TEXT, "entities": [3]}, "it is 3"),
    ({"text": TEXT, "entities": [{"start": True, "end": 2, "label": "a"}]}, "it is")])
def test_what_is_no_text_with_entities_is_refused(lm, given, message):
    with pytest.raises(UserError, match=message):
        lmlab.pipeline("relation-extraction", lm)([given])
