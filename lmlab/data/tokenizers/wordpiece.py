"""BERT's WordPiece (Devlin et al. 2019), trained here: the same text always gives the same vocabulary.

It is not lossless: white space between words is forgotten, control characters are dropped, a word that holds a rare
character (or is over 100 characters long) is one [UNK], and "wordpiece-uncased" drops case and accents too.
"""

import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from lmlab.data.cleaning import valid_unicode
from lmlab.data.tokenizers.huggingface import HuggingFace, check_size

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # ids 0 .. 4; [SEP] is eod
_COVERAGE = 0.9995  # of the text's characters are in the alphabet, as sentencepiece does by default


def train(documents: Iterable[str], vocab_size: int, kind: str) -> HuggingFace:
    """Learns exactly vocab_size pieces: the special ones, the alphabet (alone and as ##x inside a word), merges.

    Args:
      kind: "wordpiece" keeps case and accents, "wordpiece-uncased" does not.
    Raises:
      UserError: if the text has not that many pairs to merge, or too many characters; it names the number that would
        do.
    """
    tokenizer = build({token: i for i, token in enumerate(SPECIAL)}, lowercase=kind == "wordpiece-uncased")
    words = _words(documents, tokenizer.normalizer)
    alphabet = _alphabet(words)
    words = {word: count for word, count in words.items() if alphabet.issuperset(word)}
    inside = sorted({"##" + character for word in words for character in word[1:]})
    # The trainer numbers the ##x in an order that changes from run to run, unless it is handed them.
    first = [*SPECIAL, *sorted(alphabet), *inside]
    tokenizer.train_from_iterator(
        (" ".join([word] * count) for word, count in sorted(words.items())),
        trainers.WordPieceTrainer(vocab_size=max(vocab_size, len(first)), special_tokens=first, show_progress=False))
    vocabulary = tokenizer.get_vocab()
    check_size(len(vocabulary), vocab_size)
    return HuggingFace(build(vocabulary, lowercase=kind == "wordpiece-uncased"), kind)


def build(vocabulary: dict[str, int], *, lowercase: bool, strip_accents: bool | None = None, chinese: bool = True,
          special: Iterable[str] = SPECIAL, unknown: str = "[UNK]") -> tokenizers.Tokenizer:
    """A WordPiece over a given vocabulary, with BERT's cleaning and splitting.

    Args:
      strip_accents: None: as lowercase. chinese: Chinese characters are words of their own.
    """
    tokenizer = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=chinese,
                                                      strip_accents=strip_accents, lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens([token for token in special if token in vocabulary])
    return tokenizer


def _words(documents: Iterable[str], normalizer) -> Counter:
    """How often each word occurs, split as BertPreTokenizer does: at white space and around punctuation."""
    marks = {code: f" {chr(code)} " for code in range(33, sys.maxunicode + 1)
             if unicodedata.category(chr(code)).startswith("P") or code < 127 and not chr(code).isalnum()}
    words = Counter()
    for document in documents:
        words.update(normalizer.normalize_str(valid_unicode(document)).translate(marks).split())
    return words


def _alphabet(words: Counter) -> set[str]:
    """The commonest characters that together make up _COVERAGE of the words."""
    counts = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    room, kept = _COVERAGE * counts.total(), set()
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if room <= 0:
            break
        kept.add(character)
        room -= count
    return kept
