"""Tokenizers in and out: sentencepiece's own ids, and those of transformers from the same folder."""

import io
import json
import random
import shutil

import pytest
import sentencepiece
import tokenizers as library

from lmlab.data import corpus, tokenizers
from lmlab.data.tokenizers import huggingface
from lmlab.interop import pieces
from lmlab.interop import tokenizers as interop
from lmlab.utils.errors import UserError

OWN = ("bytes", "chars", "bpe", "unigram", "bbpe", "wordpiece", "wordpiece-uncased")
ROLES = ("mask", "cls", "pad", "extra_0", "extra_1")
HOSTILE = ["", " ", "  lead", "trail \n", "a  b   c", "\n\n\tx\r\n", "▁the ▁", "<0x41><0x0A> <0x4", "e\u0301 é ﬁ ①",
           "中文，", "👩‍👩‍👧 \u200b\ufeff\ufffd", "aaaaaaaaa abababab", "x = {'a': [1, 2.5]}  # 12,345"]


def mixed(count, seed=0):
    """Random strings of everything: words, runs, marks, what looks like a byte's piece, any code point."""
    rng = random.Random(seed)
    alphabet = " \n\t▁<|>/sé中\u0301\u200d\0" + "".join(map(chr, range(33, 127)))

    def part():
        kind = rng.random()
        if kind < 0.1:
            return rng.choice([" the", "ing ", "<0x41>", "<0x0A>", "  ", "aaa", "abab", "▁the", "\r\n", "12,345"])
        if kind < 0.2:
            return rng.choice("ab ") * rng.randint(1, 9)
        return rng.choice(alphabet) if kind < 0.85 else chr(rng.randrange(0xd800))
    return HOSTILE + ["".join(part() for _ in range(rng.randint(0, 80))) for _ in range(count)]


@pytest.fixture(scope="module")
def docs():
    """The embedded corpus."""
    return corpus.build()


def without(texts, specials):
    """The texts that hold none of the special tokens."""
    return [text for text in texts if not any(token in text for token in specials)]


# --- sentencepiece models of lmlab's, as Hugging Face's ---

@pytest.mark.parametrize("size", [512, 3000])
def test_our_bpe_gives_the_same_ids_for_every_text(size, docs):
    ours = tokenizers.build("bpe", size, corpus=docs)
    theirs = interop._library(ours)
    theirs.encode_special_tokens = True
    texts = mixed(1000) + [text[:1000] for text in docs.documents("validation")]
    assert [found.ids for found in theirs.encode_batch(texts)] == ours.encode_batch(texts)
    assert all(theirs.decode(ours.encode(text), skip_special_tokens=False) == text for text in texts)


@pytest.mark.slow
def test_our_unigram_gives_the_same_ids_but_for_ties(docs):
    ours = tokenizers.build("unigram", 512, corpus=docs)
    theirs = interop._library(ours)
    theirs.encode_special_tokens = True
    scores = [piece.score for piece in pieces.parse(ours.model).pieces]
    texts = mixed(1000) + [text[:1000] for text in docs.documents("validation")]
    pairs = zip(ours.encode_batch(texts), theirs.encode_batch(texts), texts)
    other = [(ids, found.ids, text) for ids, found, text in pairs if found.ids != ids]
    assert len(other) < 0.03 * len(texts)
    for a, b, text in other:  # as good, and the same text: sentencepiece's float32 sums hang on the order
        assert sum(scores[i] for i in a) == pytest.approx(sum(scores[i] for i in b), rel=1e-6)
        assert theirs.decode(b, skip_special_tokens=False) == text


def test_pairs_that_make_the_same_piece_let_the_left_one_win():
    found = pieces.merges(["a", "b", "ab", "ba", "aba"], {"ab", "ba", "aba"})
    assert found[:2] == [("a", "b"), ("b", "a")]
    assert found[2:] == [("ab", "a"), ("a", "ba")]  # of ab|a|ba the first two


# --- folders ---

def test_what_is_saved_is_loaded_the_same(docs, tmp_path):
    for name in OWN:
        ours = tokenizers.build(name, 512, specials=ROLES, corpus=docs)
        interop.save(ours, tmp_path / name)
        again = interop.load(tmp_path / name)
        assert (again.vocab_size, again.eod) == (ours.vocab_size, ours.eod)
        assert again.specials == ours.specials | {"bos": ours.specials["cls"]}
        texts = without(mixed(100), ["</s>", "<s>", "<unk>"])
        if name != "unigram":  # ties: see above
            assert again.encode_batch(texts) == ours.encode_batch(texts)
        again.save(tmp_path / f"{name}2")
        kept = tokenizers.load(tmp_path / f"{name}2")
        assert (kept.specials, kept.eod, kept.variables) == (again.specials, again.eod, again.variables)


def test_what_stands_in_front(docs, tmp_path):
    bytes_ = tokenizers.build("bytes", corpus=docs)
    for roles, bos, around in (((), 256, [256, 97]), (("cls",), 257, [257, 97, 256]), (("extra_0",), -1, [97, 256])):
        interop.save(tokenizers.extend(bytes_, roles), tmp_path)
        assert library.Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("a").ids == around
        assert interop.load(tmp_path).specials["bos"] == bos


def test_a_folder_without_a_tokenizer_has_none(tmp_path):
    assert interop.load(tmp_path) is None


def test_chat_templates_come_and_go(docs, tmp_path):
    path = tmp_path / "tokenizer_config.json"
    interop.save(tokenizers.build("bbpe", 512, corpus=docs), tmp_path)
    config = json.loads(path.read_text("utf-8"))
    for given in ("{{ 1 }}", [{"name": "tools", "template": "x"}, {"name": "default", "template": "{{ 1 }}"}]):
        path.write_text(json.dumps({**config, "chat_template": given}))
        assert interop.load(tmp_path).chat_template == "{{ 1 }}"
    interop.save(interop.load(tmp_path), tmp_path / "again")
    assert interop.load(tmp_path / "again").chat_template == "{{ 1 }}"
    (tmp_path / "chat_template.jinja").write_text("{{ 2 }}")
    assert interop.load(tmp_path).chat_template == "{{ 2 }}"


def test_roles_after_ids_that_are_unused_are_refused(tmp_path):
    """The library would give them the unused ids."""
    words = library.Tokenizer(library.models.WordLevel({"</s>": 0, "a": 1, "b": 7}, unk_token="a"))
    extended = tokenizers.extend(huggingface.HuggingFace(words, "file"), ["mask"])
    with pytest.raises(UserError, match="<mask> the id 8"):
        interop.save(extended, tmp_path)


def test_damaged_files_are_named(tmp_path, docs):
    def refused(match, **files):
        folder = tmp_path / "bad"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_bytes(content)
        with pytest.raises(UserError, match=match) as error:
            interop.load(folder)
        assert "\n" not in str(error.value)
    refused("tokenizer.json: damaged", tokenizer__json=b"{")
    refused("tokenizer.json: damaged", tokenizer__json=b"\xff\xfe")
    refused("tokenizer_config.json: damaged: its JSON", tokenizer_config__json=b"{", vocab__txt=b"[UNK]\n")
    refused("config.json: damaged: its JSON.*not an object", config__json=b"[]")
    refused("vocab.txt: damaged", vocab__txt=b"a\nb\n")
    refused("merges.txt: missing", vocab__json=b'{"a": 0}')
    refused("vocab.json: damaged", vocab__json=b'{"a": 0}', merges__txt=b"#version: 0.2\na b\n")
    refused("vocab.json: how 'qwen2'", vocab__json=b'{"a": 0}', merges__txt=b"",
            config__json=b'{"model_type": "qwen2"}')
    refused("spiece.model: not a sentencepiece model|spiece.model: no sentencepiece", spiece__model=b"garbage")
    refused("spiece.model: no sentencepiece", spiece__model=b"")
    content = tokenizers.build("bpe", 512, corpus=docs).model
    refused("tokenizer.model: whose", tokenizer__model=content, config__json=b'{"model_type": "albert"}')
    refused("damaged|not a sent", tokenizer__model=content[:3000], config__json=b'{"model_type": "llama"}')
    refused("tokenizer.json: damaged", tokenizer_config__json=b'{"added_tokens_decoder": {"x": 1}}',
            tokenizer__json=library.Tokenizer(library.models.BPE({"a": 0}, [])).to_str().encode())


# --- transformers ---

def auto(folder):
    """transformers' tokenizer of a folder; fails where it warns."""
    transformers = pytest.importorskip("transformers")
    import logging
    import warnings
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    logger = transformers.utils.logging.get_logger("transformers")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = transformers.AutoTokenizer.from_pretrained(str(folder))
    finally:
        logger.removeHandler(handler)
    assert not said.getvalue()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("roles", [(), ROLES])
def test_transformers_reads_what_we_write(name, roles, docs, tmp_path):
    ours = tokenizers.build(name, 512, specials=roles, corpus=docs)
    texts = mixed(2000, seed=1)
    for kind in (None, "bert", "gpt2", "t5", "llama", "roberta", "gemma2"):  # classes that would make it anew
        if kind:
            (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        interop.save(ours, tmp_path)
        theirs = auto(tmp_path)
        plain = without(texts, theirs.all_special_tokens)
        other = [text for text in plain if theirs.encode(text, add_special_tokens=False) != ours.encode(text)]
        assert len(other) <= (0.03 * len(plain) if name == "unigram" else 0)  # ties: see above
        assert all(theirs.decode(ours.encode(text)) == ours.decode(ours.encode(text)) for text in plain[:200])
        assert len(theirs) == ours.vocab_size and theirs.eos_token_id == ours.eod
        for role in ("mask", "cls", "pad"):
            assert getattr(theirs, f"{role}_token_id") == ours.specials.get(role)
        if roles:
            assert theirs.convert_tokens_to_ids("<extra_id_1>") == ours.specials["extra_1"]


def train(path, docs, **settings):
    """A sentencepiece model of 600 pieces."""
    lines = [line for text in list(docs.documents("train"))[:300] for line in text[:1500].splitlines() if line]
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=file, vocab_size=600,
                                                 minloglevel=2, **settings)


LLAMA = dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", split_digits=True,
             remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)
T5 = dict(model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
GEMMA = LLAMA | dict(add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, bos_piece="<bos>",
                     eos_piece="<eos>", control_symbols=["<start_of_turn>", "<mask>"],
                     user_defined_symbols=["\n\n", "[x]"])


def fill(folder, docs, kind):
    """Fills folder with the files of a kind of tokenizer."""
    wordpiece, bbpe = (tokenizers.build(name, 600, corpus=docs).to_json()["model"] for name in ("wordpiece", "bbpe"))
    merges = "#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in bbpe["merges"])
    roberta = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, **{k: i + 3 for k, i in bbpe["vocab"].items() if i},
               "<mask>": 603}
    if kind == "bert":
        (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in wordpiece["vocab"]), "utf-8")
    elif kind in ("gpt2", "roberta", "bart"):
        (folder / "vocab.json").write_text(json.dumps(bbpe["vocab"] if kind == "gpt2" else roberta))
        (folder / "merges.txt").write_text(merges, "utf-8")
    elif kind == "t5":
        train(folder / "spiece.model", docs, **T5)
    elif kind == "xlm-roberta":
        train(folder / "sentencepiece.bpe.model", docs, model_type="unigram")
    else:
        train(folder / "tokenizer.model", docs, **{"llama": LLAMA, "gemma": GEMMA}[kind])
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))


SETTINGS = {
    "bert": [{}, {"do_lower_case": False}, {"strip_accents": False, "tokenize_chinese_chars": False}],
    "gpt2": [{}, {"add_prefix_space": True}, {"add_bos_token": True}, {"pad_token": "[PAD]"}],
    "roberta": [{}, {"add_prefix_space": True}], "bart": [{}],
    "t5": [{}, {"extra_ids": 10}], "xlm-roberta": [{}],
    "llama": [{"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, **more}
              for more in ({}, {"legacy": True}, {"add_prefix_space": False}, {"add_eos_token": True})],
    "gemma": [{"tokenizer_class": "GemmaTokenizer", "add_bos_token": True}],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETTINGS)
def test_we_read_what_transformers_reads(kind, docs, tmp_path):
    fill(tmp_path, docs, kind)
    texts = mixed(2000, seed=2) + [text[:500] for text in docs.documents("validation")][:100]
    for settings in SETTINGS[kind]:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        ours, theirs = interop.load(tmp_path), auto(tmp_path)
        plain = without(texts, theirs.all_special_tokens)
        assert ours.encode_batch(plain) == theirs(plain, add_special_tokens=False).input_ids
        assert all(ours.decode(ours.encode(text)) == theirs.decode(ours.encode(text)) for text in plain[:200])
        end = theirs.eos_token_id if theirs.eos_token_id is not None else theirs.sep_token_id
        assert ours.eod == end and ours.vocab_size == len(theirs)
        for role in ("mask", "cls", "pad", "unk"):
            if getattr(theirs, f"{role}_token") is not None:
                assert ours.specials[role] == getattr(theirs, f"{role}_token_id"), role
        around, inside = theirs("a").input_ids, theirs("a", add_special_tokens=False).input_ids
        assert ours.specials["bos"] == (-1 if around[:1] == inside[:1] else around[0])
        assert ours.variables == {k: v for k, v in theirs.special_tokens_map.items() if isinstance(v, str)}
        named = set(ours.variables.values())
        assert not set(map(theirs.convert_tokens_to_ids, named)) & {*ours.encode(" ".join(named))} - {
            theirs.unk_token_id}
        interop.save(ours, tmp_path / "out")
        again = auto(tmp_path / "out")
        assert again(plain[:500]).input_ids == theirs(plain[:500]).input_ids


@pytest.mark.slow
def test_marian_in_its_source_language(docs, tmp_path):
    pytest.importorskip("transformers")
    train(tmp_path / "source.spm", docs, model_type="unigram")
    shutil.copy(tmp_path / "source.spm", tmp_path / "target.spm")
    model = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "source.spm"))
    names = ["</s>", "<unk>", *map(model.id_to_piece, range(3, 600)), ">>fra<<", "<pad>"]
    (tmp_path / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (tmp_path / "config.json").write_text('{"model_type": "marian", "decoder_start_token_id": 600}')
    ours = interop.load(tmp_path)
    from transformers import MarianTokenizer
    theirs = MarianTokenizer.from_pretrained(str(tmp_path))
    texts = [">>fra<< a cat"] + [text[:300] for text in docs.documents("validation")]
    assert [ours.encode(text) for text in texts] == [theirs.encode(text, add_special_tokens=False) for text in texts]
    assert ours.specials["decoder_start"] == ours.specials["pad"] == 600 and ours.eod == theirs.eos_token_id
