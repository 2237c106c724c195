"""WordPiece against Hugging Face's own splitting, and against BERT's rule written out."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from lmlab.data import tokenizers
from lmlab.data.tokenizers import wordpiece

TEXT = "Naïve CAFÉ owners can't re-do «it» in 中文 (really): $5~6 + x^2\u200b!\x1f"


@pytest.fixture(scope="module", params=["wordpiece", "wordpiece-uncased"])
def tokenizer(request, docs):
    """Each kind, small."""
    return tokenizers.build(request.param, 700, corpus=docs)


def longest_first(word, vocabulary):
    """The pieces of a word (Wu et al. 2016): from the left, the longest that there is; None where there is none."""
    pieces, start = [], 0
    while start < len(word):
        found = next((end for end in range(len(word), start, -1)
                      if ("##" if start else "") + word[start:end] in vocabulary), None)
        if found is None:
            return None
        pieces.append(("##" if start else "") + word[start:found])
        start = found
    return pieces


def test_offsets_are_of_the_text_before_it_was_normalised(tokenizer):
    ids, offsets = tokenizer.encode_offsets(TEXT)
    library = tokenizer._tokenizer
    assert ids == tokenizer.encode(TEXT) and len(set(offsets)) > 15
    for i, (start, end) in zip(ids, offsets):
        piece = library.id_to_token(i)
        assert piece == "[UNK]" or library.normalizer.normalize_str(TEXT[start:end]).strip() == piece.removeprefix("##")


def test_pieces_are_the_longest_that_there_are(tokenizer, docs):
    library = tokenizer._tokenizer
    vocabulary = library.get_vocab()
    for text in list(docs.documents("validation"))[:30]:
        words = [w for w, _ in library.pre_tokenizer.pre_tokenize_str(library.normalizer.normalize_str(text))]
        expected = [i for word in words
                    for i in map(vocabulary.get, longest_first(word, vocabulary) or ["[UNK]"])]
        assert [i for i in tokenizer.encode(text) if i != 1] == [i for i in expected if i != 1]
        assert len(tokenizer.encode(text)) == len(expected)


def test_words_are_split_as_the_library_splits_them(tokenizer, docs):
    library = tokenizer._tokenizer
    texts = [TEXT, *list(docs.documents("train"))[:100]]
    expected = Counter(word for text in texts for word, _ in
                       library.pre_tokenizer.pre_tokenize_str(library.normalizer.normalize_str(text)))
    assert wordpiece._words(texts, library.normalizer) == expected


def test_special_tokens_have_bert_s_ids_and_come_from_no_text(tokenizer):
    assert tokenizer.specials == {"pad": 0, "unk": 1, "cls": 2, "mask": 4} and tokenizer.eod == 3
    ids = tokenizer.encode("[PAD] [CLS] [SEP] [MASK]")
    assert ids and not set(ids) & {0, 2, 3, 4}


def test_case_and_accents(docs):
    cased, uncased = (tokenizers.build(name, 700, corpus=docs) for name in ("wordpiece", "wordpiece-uncased"))
    assert cased.encode("The") != cased.encode("the")
    assert uncased.encode("THÉ") == uncased.encode("the")
    assert uncased.decode(uncased.encode("The  cats,\nthey sat.")) == "the cats, they sat."


def test_every_process_learns_the_same():
    program = ("from lmlab.data.tokenizers import wordpiece\n"
               "words = [a + b + c for a in 'abcdef' for b in 'aeiou' for c in 'xyzabc']\n"
               "t = wordpiece.train([' '.join(words), ' '.join(words[::3])], 60, 'wordpiece')\n"
               "print(sorted(t._tokenizer.get_vocab().items()))")
    root = Path(__file__).parents[3]
    assert len({subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                               cwd=root).stdout for _ in range(3)}) == 1


def test_rare_characters_are_unknown():
    trained = wordpiece.train(["ab ba ab " * 2000 + "ж"], 10, "wordpiece")
    assert trained.vocab_size == 10 and trained.encode("ab ж") == [*trained.encode("ab"), 1]
