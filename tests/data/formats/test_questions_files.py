"""Questions with answers in a context: SQuAD, and a start that is off by some characters."""

import pytest

from lmlab.data.formats import questions

CONTEXT = "The Normans (in their tongue Nourmands) gave a name to Normandy, a region of France."


def squad(*qas, context=CONTEXT):
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": context, "qas": list(qas)}]}]}


def question(number, text="", start=0, **more):
    answers = [{"text": text, "answer_start": start}] if text else []
    return {"id": number, "question": f"Question {number}?", "answers": answers, **more}


def test_squad_1_and_2_are_read(read):
    content = squad(question("a", "Normandy", CONTEXT.index("Normandy")),
                    question("b", is_impossible=True, plausible_answers=[{"text": "The", "answer_start": 0}]),
                    question("c", "Normans", 4, is_impossible=False))
    found = read("questions", "a.json", content)
    assert found == [
        {"id": "a", "context": CONTEXT, "question": "Question a?",
         "answers": [{"text": "Normandy", "start": 55}]},
        {"id": "b", "context": CONTEXT, "question": "Question b?", "answers": []},
        {"id": "c", "context": CONTEXT, "question": "Question c?", "answers": [{"text": "Normans", "start": 4}]}]
    assert read("questions", "b.jsonl", found) == read("questions", "c.json", found) == found
    assert len({questions.key(one) for one in found}) == 1 and len({questions.same(one) for one in found}) == 3


def test_rows_as_hugging_face_lays_squad_out_and_names_of_ones_own(read):
    rows = [{"context": CONTEXT, "question": "Who?",
             "answers": {"text": ["Normans", "The Normans"], "answer_start": [4, 0]}},
            {"context": CONTEXT, "question": "When?", "answers": {"text": [], "answer_start": []}}]
    found = read("questions", "a.jsonl", rows)
    assert [one["answers"] for one in found] == [
        [{"text": "Normans", "start": 4}, {"text": "The Normans", "start": 0}], []]
    assert len({one["id"] for one in found}) == 2  # made up, and another for another question
    mine = [{"passage": "abc", "q": "Who?", "a": [{"text": "b", "start": 1}], "id": 7}]
    assert read("questions", "a.jsonl", mine, "passage,q,a") == [
        {"id": "7", "context": "abc", "question": "Who?", "answers": [{"text": "b", "start": 1}]}]


@pytest.mark.parametrize("shift", [-5, -1, 1, 2, 30, -200, -len(CONTEXT), 10 ** 30])
def test_a_start_that_is_off_is_told_with_the_shift(refusal, shift):
    right = CONTEXT.index("Nourmands")
    said = refusal("questions", "a.json", squad(question("a", "The", 0), question("b", "Nourmands", right + shift)))
    assert said.startswith("a.json, data[0].paragraphs[0].qas[1]: answers[0], 'Nourmands', does not stand at "
                           f"character {right + shift} of the context, but at {right}, a shift of {-shift:+d}; correct")


def test_the_nearest_place_is_told(refusal):
    context = "ab" * 50
    for start in (1, 31, 97):
        assert "shift of -1" in refusal("questions", "a.json", squad(question("a", "ab", start), context=context))
    assert "but at 2, a shift of +1" in refusal("questions", "a.json", squad(question("a", "aba", 1), context="xxaba"))


def test_damaged_ones_may_be_left_out(read):
    told = []
    content = squad(question("a", "The", 1), question("b", "The", 0))
    content["data"] += [{"paragraphs": 3}, squad(question("c"))["data"][0]]
    assert [one["id"] for one in read("questions", "a.json", content, skip=told.append)] == ["b", "c"]
    assert [str(error).split(", ", 1)[1].split(":")[0] for error in told] == ["data[0].paragraphs[0].qas[0]", "data[1]"]
