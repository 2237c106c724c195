"""Many texts to texts in batches: each as it would come alone, and as `generate` makes it."""

import pytest

import tasks
from lmlab.data.chat import encode_chat
from lmlab.decoding import text2text
from lmlab.decoding.text import generate
from lmlab.utils.errors import UserError

SOURCES = [" ".join(tasks.WORDS[start:start + count]) for start, count in enumerate((1, 9, 3, 0, 14, 2, 7, 20, 5))]


@pytest.fixture
def few(monkeypatch):
    """Three sources a batch."""
    monkeypatch.setattr(text2text, "ROWS", 3)


@pytest.mark.parametrize("settings", [{}, {"beams": 3, "length_penalty": 0.5}], ids=str)
def test_many_are_each_as_generate_makes_them(few, settings):
    """Sources of any lengths, an empty one too, in their order."""
    lm = tasks.model("encoder-decoder")
    made = text2text.answers(lm, SOURCES, max_new_tokens=12, **settings)
    ids = [[*lm.tokenizer.encode(source), lm.tokenizer.eod] for source in SOURCES]
    alone = [generate(lm, row, max_new_tokens=12, temperature=0.0, **settings).strip() for row in ids]
    assert made == alone and len(set(made)) > 4


def test_how_much_is_made_goes_by_the_source_alone(monkeypatch, few):
    monkeypatch.setattr(text2text, "STEP", 4)
    lm, asked = tasks.model("encoder-decoder"), []
    monkeypatch.setattr(text2text, "generate", lambda lm, ids, max_new_tokens=0, **_: asked.append(
        (max_new_tokens, len(ids), max(map(len, ids), default=0))) or [""] * len(ids))
    text2text.answers(lm, SOURCES)
    batches = [batch for batch in asked if batch[1]]
    # the source and its eod, in fours, and four more: at most the 64 that it learned
    assert all(most == min(64, -(-longest // 4) * 4 + 4) for most, _, longest in batches)
    assert all(count in (1, 2, 4) for _, count, _ in batches) and len(batches) >= 5


def test_what_is_drawn_is_drawn_as_generate_does():
    lm = tasks.model("encoder-decoder")
    ids = [[*lm.tokenizer.encode(source), lm.tokenizer.eod] for source in SOURCES]
    drawn = generate(lm, ids, temperature=1.0, seed=3, max_new_tokens=8)
    assert text2text.answers(lm, SOURCES, temperature=1.0, seed=3, max_new_tokens=8) == drawn


def test_a_source_that_is_too_long_is_cut_as_in_training(capsys):
    lm = tasks.model("encoder-decoder")
    long = " ".join(["cat"] * 100)
    cut = [*lm.tokenizer.encode(long)[:63], lm.tokenizer.eod]
    expected = generate(lm, cut, temperature=0, max_new_tokens=5).strip()
    assert text2text.answers(lm, [long], max_new_tokens=5) == [expected]
    assert capsys.readouterr().err == "1 of 1 sources are cut to 64 tokens, as in training\n"


def test_a_decoder_that_chats_is_told_what_to_do():
    lm = tasks.model("decoder")
    messages = [{"role": "system", "content": "Summarize the text in one sentence."},
                {"role": "user", "content": SOURCES[1]}]
    expected = generate(lm, encode_chat(lm.tokenizer, messages), temperature=0, max_new_tokens=6).strip()
    assert text2text.answers(lm, SOURCES[:2], task="summarization", max_new_tokens=6)[1] == expected


@pytest.mark.parametrize("kind, task, why", [
    ("decoder", "", "asked of an encoder-decoder; what"),
    ("decoder", "translation", "asked of an encoder-decoder; what"),
    ("masked", "", "an encoder makes no text"), ("single", "summarization", "has a head for")])
def test_other_models_are_refused(kind, task, why):
    with pytest.raises(UserError, match=why):
        text2text.answers(tasks.model(kind), ["the cat"], task=task)


def test_what_is_no_text_is_refused():
    with pytest.raises(UserError, match="'3' is no text; give a string"):
        text2text.answers(tasks.model("encoder-decoder"), ["the cat", 3])
