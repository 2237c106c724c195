"""Conversations as rows: what is learned by hand-made tables, whatever the template; cut, packed, refused."""

import numpy as np
import pytest

from lmlab.data import chat, tokenizers
from lmlab.data.examples import Split
from lmlab.data.features import dialogue
from lmlab.data.tokenizers import extended, plain
from lmlab.interop import tokenizers as interop
from lmlab.utils.errors import UserError
from reading import every

END = "<|endoftext|>"
SMOLLM2 = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
           "{{ '<|im_start|>system\nBe helpful<|im_end|>\n' }}{% endif %}"
           "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
           "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
LLAMA_2 = ("{% if messages[0].role == 'system' %}{% set said = '<<SYS>>' + messages[0].content + '<</SYS>>' %}"
           "{% set messages = messages[1:] %}{% else %}{% set said = '' %}{% endif %}{% for m in messages %}"
           "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must take turns') }}"
           "{% endif %}"
           "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + (said if loop.first else '') + m.content | trim"
           " + ' [/INST]' }}{% else %}{{ ' ' + m.content | trim + ' ' + eos_token }}{% endif %}{% endfor %}")
# Earlier answers lose what was thought aloud, as DeepSeek R1's and Qwen 3's templates have it.
THINKS = ("{% for m in messages %}<|im_start|>{{ m.role }}:{% if m.role == 'assistant' and not loop.last %}"
          "{{ m.content.split('</think>') | last }}{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}")
TEMPLATES = {"smollm2": SMOLLM2, "llama-2": LLAMA_2, "thinks": THINKS}
TWO_TURNS = [{"role": "user", "content": "Hi <|im_end|></s>"}, {"role": "assistant", "content": "<think>h</think>Ho"},
             {"role": "user", "content": "Why"}, {"role": "assistant", "content": "So <|im_start|>"}]


def with_template(name):
    """A tokenizer of bytes with a template and its special tokens."""
    return interop.wrap(interop._library(plain.Bytes()), {
        "bos_token": "<s>", "eos_token": "</s>", "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "chat_template": TEMPLATES[name]})


@pytest.fixture(params=TEMPLATES)
def name(request):
    """Of a template."""
    return request.param


def shown(tokenizer, ids):
    """The text of ids, special tokens written out."""
    return tokenizer._tokenizer.decode([int(i) for i in ids], skip_special_tokens=False)


def parts(tokenizer, text):
    """A text in alternating parts: not learned, learned, ..."""
    changes = np.flatnonzero(np.diff(text.weights)) + 1
    assert text.weights[0] == 0 and set(text.weights) <= {0, 1}
    return [shown(tokenizer, ids) for ids in np.split(text.ids, changes)]


# What is not learned and what is, in turn, of the texts that TWO_TURNS becomes.
WANTED = {
    "smollm2": [["<|im_start|>system\nBe helpful<|im_end|>\n<|im_start|>user\nHi <|im_end|></s><|im_end|>\n"
                 "<|im_start|>assistant\n", "<think>h</think>Ho<|im_end|>",
                 "\n<|im_start|>user\nWhy<|im_end|>\n<|im_start|>assistant\n", "So <|im_start|><|im_end|>", "\n"]],
    "llama-2": [["<s>[INST] Hi <|im_end|></s> [/INST]", " <think>h</think>Ho </s>", "<s>[INST] Why [/INST]",
                 " So <|im_start|> </s>"]],
    "thinks": [["<|im_start|>user:Hi <|im_end|></s><|im_end|><|im_start|>assistant:", "<think>h</think>Ho<|im_end|>"],
               ["<|im_start|>user:Hi <|im_end|></s><|im_end|><|im_start|>assistant:Ho<|im_end|><|im_start|>user:Why"
                "<|im_end|><|im_start|>assistant:", "So <|im_start|><|im_end|>"]],
}


def test_what_is_learned_of_a_conversation(name):
    tokenizer = with_template(name)
    texts = dialogue.learned(tokenizer, TWO_TURNS)
    assert [parts(tokenizer, text) for text in texts] == WANTED[name]
    ends = {i for text in texts for i in text.ids[text.weights > 0] if i in tokenizer.controls}
    assert ends == chat.ends(tokenizer) and len(ends) == 1  # what a message says is no control token


def test_each_answer_is_learned_as_it_is_asked_for(name):
    tokenizer = with_template(name)
    texts = dialogue.learned(tokenizer, TWO_TURNS)
    for number in (1, 3):
        prompt = chat.encode_chat(tokenizer, TWO_TURNS[:number])
        holding = [text for text in texts if text.ids[:len(prompt)].tolist() == prompt and text.weights[len(prompt)]]
        assert holding and not any(text.weights[len(prompt) - 1] for text in holding)


def test_an_assistant_that_speaks_first_answers_nothing():
    tokenizer = with_template("smollm2")
    first = [{"role": "assistant", "content": "Hello"}, *TWO_TURNS]
    text, = dialogue.learned(tokenizer, first)
    assert [part for part in parts(tokenizer, text)[1::2]] == ["<think>h</think>Ho<|im_end|>",
                                                              "So <|im_start|><|im_end|>"]
    assert dialogue.learned(tokenizer, first[:1]) == []


@pytest.fixture(scope="module")
def bytes_tokenizer():
    """Bytes with the marks of speakers."""
    return tokenizers.chatting(tokenizers.extend(plain.Bytes(), extended.SPEAKERS))


def exchange(asked, answered):
    """Two messages."""
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def split_of(*conversations):
    """A split of conversations."""
    return Split([{"messages": messages} for messages in conversations], {"name": "talk"}, "train")


def test_rows_hold_whole_conversations_side_by_side(bytes_tokenizer):
    talks = [exchange("a" * n, "b" * n) for n in (3, 5, 9, 2, 30)]
    for windows, count in (("stream", 5), ("packed", 2)):
        rows = dialogue.features(split_of(*talks), bytes_tokenizer, length=64, windows=windows)
        batch, seen = every(rows), []
        assert rows.count == count and batch["tokens"].shape == (count, 64)
        for b in range(count):
            for segment in range(1, batch["segments"][b].max() + 1):
                mine = batch["segments"][b] == segment
                assert batch["positions"][b][mine].tolist() == list(range(mine.sum()))
                tokens, targets, weights = (batch[part][b][mine] for part in ("tokens", "targets", "weights"))
                n = int(weights.sum()) - 1
                seen.append(n)
                assert tokens.tolist() == [258, *[97] * n, 256, 259, *[98] * n]
                assert targets.tolist() == [*tokens[1:], 256]
                assert targets[weights > 0].tolist() == [*[98] * n, 256]
        assert sorted(seen) == [2, 3, 5, 9, 30] and not batch["weights"][batch["segments"] == 0].any()
    assert not every(rows)["tokens"][-1][batch["segments"][-1] == 0].any()
    assert not rows.make(np.array([-1]), np.array([0]), 0)["segments"].any()


def test_what_is_too_long_is_cut_where_a_turn_begins(bytes_tokenizer, capsys):
    system = [{"role": "system", "content": "S"}]
    turns = [exchange(str(i) * 4, "b" * 4) for i in range(5)]
    talk = system + sum(turns, [])
    texts, cut, lost = dialogue.fitting(bytes_tokenizer, talk, 30)  # 3 tokens of the system, 12 of a turn
    assert (len(texts), cut, lost) == (3, True, 0) and all(text.size <= 30 for text in texts)
    learned = [int(text.weights.sum()) for text in texts]
    assert learned == [5, 10, 10]  # the newest turns together, and no answer is lost
    assert all(text.ids[:3].tolist() == [257, ord("S"), 256] for text in texts)
    assert bytes_tokenizer.decode(texts[0].ids[:9]) == "S0000"
    texts, cut, lost = dialogue.fitting(bytes_tokenizer, exchange("a", "x" * 40) + exchange("c", "d"), 30)
    assert (len(texts), cut, lost) == (1, True, 1) and texts[0].ids.tolist() == [258, 99, 256, 259, 100, 256]
    dialogue.features(split_of(talk, exchange("a", "x" * 40), exchange("a", "b")), bytes_tokenizer, length=30,
                      windows="packed")
    assert ("of the 3 conversations of talk (train), 1 are cut before a user's message and 1 exchanges left out, being "
            "longer than config.train.length=30 tokens") in capsys.readouterr().err


def test_no_row_is_one_line(bytes_tokenizer):
    with pytest.raises(UserError, match=r"talk \(train\) has no answer that fits in config.train.length=30"):
        dialogue.features(split_of(exchange("a", "x" * 40)), bytes_tokenizer, length=30, windows="packed")
    twice = [{"role": "user", "content": "a"}, *exchange("b", "c")]
    with pytest.raises(UserError, match=r"example 2 of talk \(train\): the chat template refuses.*take turns"):
        dialogue.features(split_of(exchange("a", "b"), twice), with_template("llama-2"), length=64, windows="packed")


def test_more_than_one_text_stays_together_in_a_row():
    texts = [dialogue.Learned(np.arange(n + 1, dtype=np.int32), np.ones(n + 1, np.float32)) for n in (3, 2, 4, 1, 2, 2)]
    groups = [texts[:2], texts[2:4], texts[4:]]
    rows = dialogue.rows(groups, 10, "packed", {"number": (np.int32,), "two": (np.float32, 2)},
                         lambda k: {"number": k + 1, "two": (k, -k)})
    batch = every(rows)
    sizes = [[(batch["segments"][b] == s).sum() for s in range(1, batch["segments"][b].max() + 1)] for b in range(2)]
    for b, row in enumerate(sizes):
        for k, number in enumerate(n for n in batch["number"][b] if n):
            assert row[2 * k:2 * k + 2] == [text.size for text in groups[number - 1]]
            assert batch["two"][b, k].tolist() == [number - 1, 1 - number]
    assert sorted(batch["number"].ravel()) == [0, 1, 2, 3]
