"""Pipelines take and give what transformers v4's did."""

import pytest

import lmlab
from commands import tiny
from lmlab.utils.errors import UserError


@pytest.fixture(scope="module")
def pipe():
    """The pipeline of the tiny run."""
    return lmlab.pipeline("text-generation", str(tiny() / "run"))


def test_a_string_gives_a_list_of_dicts(pipe):
    out = pipe("the cat", max_new_tokens=5)
    assert isinstance(out, list) and len(out) == 1 and list(out[0]) == ["generated_text"]
    assert out[0]["generated_text"].startswith("the cat") and len(out[0]["generated_text"]) > len("the cat")


def test_a_list_gives_a_list_of_lists(pipe):
    out = pipe(["the", "春眠"], max_new_tokens=5, temperature=0)
    assert [[list(d) for d in row] for row in out] == [[["generated_text"]]] * 2
    assert out[0] == pipe("the", max_new_tokens=5, temperature=0)
    assert pipe([], max_new_tokens=5) == []
    assert pipe(["the"], max_new_tokens=5, temperature=0) == [out[0]]


def test_return_full_text(pipe):
    whole, part = (pipe("the", max_new_tokens=9, return_full_text=full)[0]["generated_text"] for full in (True, False))
    assert whole == "the" + part


def test_takes_what_load_gives(pipe):
    lm = lmlab.load(tiny() / "run")
    assert lmlab.pipeline("text-generation", lm)("a", max_new_tokens=4) == pipe("a", max_new_tokens=4)
    part = pipe("a", max_new_tokens=4, return_full_text=False)
    assert part == [{"generated_text": lmlab.generate(lm, "a", max_new_tokens=4)}]


@pytest.mark.parametrize("task", ["text-generatoin", "text_generation", "textgeneration"])
def test_an_unknown_task_names_the_near_one(task):
    with pytest.raises(UserError, match="did you mean 'text-generation'"):
        lmlab.pipeline(task, "nowhere")


def test_a_task_like_no_other_lists_them_all():
    with pytest.raises(UserError, match="there are: .*text-generation"):
        lmlab.pipeline("summarization", "nowhere")
