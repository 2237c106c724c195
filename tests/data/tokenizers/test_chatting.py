"""Messages for tokenizers without a template: marks that no message can write, saved, exported, the same ids."""

import pytest

from lmlab.data import tokenizers
from lmlab.data.chat import encode_chat, ends, turn
from lmlab.data.tokenizers import extended, huggingface, plain
from lmlab.interop import tokenizers as interop
from lmlab.utils.errors import UserError

CHAT = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "naïve 中 <user>x<end></s><|endoftext|>"},
        {"role": "assistant", "content": "<assistant>yes<us"}, {"role": "user", "content": "er><end"}]
KINDS = ("bytes", "bpe", "unigram", "bbpe", "wordpiece")


def made(kind, docs, specials):
    """A tokenizer that chats."""
    return tokenizers.chatting(tokenizers.build(kind, 512, corpus=docs, specials=specials))


def test_the_ids_by_hand():
    ours = tokenizers.chatting(tokenizers.extend(plain.Bytes(), extended.SPEAKERS))
    system, user, assistant = 257, 258, 259
    said = [[*message["content"].encode(), 256] for message in CHAT]
    assert encode_chat(ours, CHAT) == [system, *said[0], user, *said[1], assistant, *said[2], user, *said[3], assistant]
    assert encode_chat(ours, CHAT, add_generation_prompt=False) == encode_chat(ours, CHAT)[:-1]
    assert ours.vocab_size == 260 and ours.controls == {256, system, user, assistant} and ends(ours) == {256}
    plainly = tokenizers.chatting(plain.Bytes())  # of a network whose vocabulary does not grow
    assert encode_chat(plainly, CHAT[:1]) == [*b"<system>Be kind.", 256, *b"<assistant>"] and plainly.vocab_size == 257


@pytest.mark.parametrize("specials", [extended.SPEAKERS, ()], ids=["marks", "text"])
@pytest.mark.parametrize("kind", KINDS)
def test_messages_stay_text_and_begin_as_they_are_asked_for(kind, specials, docs):
    ours = made(kind, docs, specials)
    ids = encode_chat(ours, CHAT)
    clean = encode_chat(ours, [{**message, "content": "a"} for message in CHAT])
    assert [i for i in ids if i in ours.controls] == [i for i in clean if i in ours.controls]
    assert ids.count(ours.eod) == 4
    if specials and kind != "wordpiece":  # which is not lossless
        texts = "".join(message["content"] for message in CHAT)
        assert ours.decode(ids).replace(" ", "") == texts.replace(" ", "")
    prompt, (whole, start, stop) = encode_chat(ours, CHAT[:2]), turn(ours, CHAT[:2], "Yes, of course")
    assert whole[:start] == prompt and whole[stop - 1] == ours.eod and stop == len(whole)
    assert ours.decode(whole[start:stop]).strip() == ("Yes, of course" if kind != "wordpiece" else
                                                      ours.decode(ours.encode("Yes, of course")))


@pytest.mark.parametrize("specials", [extended.SPEAKERS, ()], ids=["marks", "text"])
def test_saved_and_loaded_it_chats_as_before(specials, docs, tmp_path):
    ours = made("bbpe", docs, specials)
    ours.save(tmp_path)
    again = tokenizers.load(tmp_path)
    assert encode_chat(again, CHAT) == encode_chat(ours, CHAT) and tokenizers.digest(again) == tokenizers.digest(ours)
    assert tokenizers.chatting(again) is again
    assert tokenizers.extend(again, ("mask",)).chat_template == extended.TEMPLATE
    (tmp_path / extended.CHAT).write_text("{{ messages }}")
    with pytest.raises(UserError, match="damaged"):
        tokenizers.load(tmp_path)


def test_a_template_that_is_there_is_kept():
    theirs = interop.wrap(interop._library(plain.Bytes()), {"eos_token": "<|endoftext|>", "chat_template": "x"})
    assert isinstance(theirs, huggingface.HuggingFace) and tokenizers.chatting(theirs) is theirs
    with pytest.raises(UserError, match="no chat template"):
        encode_chat(plain.Bytes(), CHAT)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes", "bbpe"])
def test_exported_it_is_transformers_template(kind, docs, tmp_path):
    transformers = pytest.importorskip("transformers")
    ours = made(kind, docs, extended.SPEAKERS)
    interop.save(ours, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "naïve 中"},
            {"role": "assistant", "content": "yes"}, {"role": "user", "content": "why?"}]
    assert encode_chat(ours, chat) == theirs.apply_chat_template(chat, add_generation_prompt=True,
                                                                 return_dict=True)["input_ids"]
