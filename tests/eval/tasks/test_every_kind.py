"""Every task with every kind of model: a report, or one line that says why not."""

import pytest

import tasks as models
from lmlab.eval import heldout, tasks
from lmlab.utils.errors import UserError

USER, ANSWER = {"role": "user", "content": "who is here ?"}, {"role": "assistant", "content": "a cat and a dog"}
PAIRS = [{"source": f"the cat sat on {word}", "target": f"a dog ran in {word}"} for word in ("paris", "france", "mat")]
CHATS = [{"messages": [USER | {"content": f"who is in {word} ?"}, ANSWER | {"content": f"a cat in {word}"}]}
         for word in ("paris", "france", "mat")]
TAGGED = [{"text": "paris is here", "words": [[0, 5], [6, 8], [9, 13]], "tags": ["B-PER", "O", "O"]}] * 3
ANSWERED = {"answers": [{"text": "cat", "start": 4}]}
QUESTIONS = [{"id": "1", "question": "who sat ?", "context": "the cat sat", **ANSWERED}] * 3
RELATED = [{"text": "paris is in france", "relations": [{"head": 0, "tail": 1, "label": "in"}],
            "spans": [{"start": 0, "end": 5, "label": "towns"}, {"start": 12, "end": 18, "label": "towns"}]}] * 3
# What each task is measured on, and which kinds of model do it; the rest of them are refused.
ALL = {
    "classification": ([{"text": "a cat", "label": label} for label in models.LABELS],
                       ("single", "several", "number", "entailment", "decoder with a head")),
    "in_context": ([{"text": "a cat", "label": "a"}, {"text": "a dog", "label": "b"}], ("decoder",)),
    "tagging": (TAGGED, ("tagging",)),
    "question_answering": (QUESTIONS, ("question_answering",)),
    "multiple_choice": ([{"question": "who sat ?", "choices": ["a cat", "paris"], "answer": 0}] * 3,
                        ("multiple_choice", "decoder")),
    "relations": (RELATED, ("relations",)),
    "dialogue": (CHATS, ("decoder",)),
    "preference": ([{"prompt": [USER], "chosen": "a cat", "rejected": "a dog"}] * 3, ("decoder",)),
    "retrieval": ([{"anchor": "a cat", "positive": "the mat"}, {"anchor": "sport", "positive": "towns"}],
                  (*models.KINDS,)),
    "similarity": ([{"first": "a cat", "second": word, "score": n} for n, word in enumerate(("a dog", "sport", "it"))],
                   (*models.KINDS,)),
    "translation": (PAIRS, ("encoder-decoder",)),
    "summarization": (PAIRS, ("encoder-decoder", "decoder", "prefix")),
    "correction": (PAIRS, ("encoder-decoder", "decoder", "prefix")),
}
OWN = {"number": [{"text": "a cat", "label": str(number)} for number in range(3)],
       "entailment": [{"text": "a cat", "pair": "a dog", "label": "neutral"},
                      {"text": "the mat", "pair": "the park", "label": "entailment"}] * 2}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Few draws of the bootstrap."""
    monkeypatch.setattr(tasks, "TRIALS", 3)


def test_every_task_is_here():
    from lmlab.utils import modules
    with pytest.raises(UserError) as error:
        modules.find(tasks, "none such", "task", "")
    assert {*str(error.value).partition("there are: ")[2].split(", ")} == {*ALL}


@pytest.mark.parametrize("kind", models.KINDS)
@pytest.mark.parametrize("name", ALL)
def test_a_model_is_measured_or_one_line_says_why_not(name, kind):
    held, able = ALL[name]
    lm, held = models.model(kind), OWN.get(kind, held) if name == "classification" else held
    if kind in able:
        settings = {"shots": 1} if name == "in_context" else {}  # the context has no room for more
        report = tasks.measure(tasks.find(name).task(lm, **settings), held, held)
        assert report["examples"] == len(held) and tasks.table(report)
    else:
        with pytest.raises(UserError) as caught:
            tasks.measure(tasks.find(name).task(lm), held, held)
        assert len(str(caught.value)) > 40 and "\n" not in str(caught.value)
