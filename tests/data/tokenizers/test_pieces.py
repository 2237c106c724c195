"""Our sentencepiece against the library's own encoding and decoding of the same model."""

import sentencepiece

from lmlab.data import tokenizers


def test_same_ids_and_text_as_the_library(docs, tmp_path):
    for name in ("bpe", "unigram"):
        ours = tokenizers.build(name, 512, corpus=docs)
        ours.save(tmp_path / name)
        file = tmp_path / name / "sentencepiece.model"
        library = sentencepiece.SentencePieceProcessor(model_file=str(file))
        texts = [text for text in docs.documents("validation") if "\u2581" not in text][:60]
        assert [ours.encode(text) for text in texts] == library.encode(texts)
        assert [ours.decode(ours.encode(text)) for text in texts] == library.decode(library.encode(texts))
        assert library.id_to_piece(ours.eod) == "</s>" and library.is_control(ours.eod)


def test_a_literal_space_mark_is_not_a_space(docs):
    tokenizer = tokenizers.build("bpe", 512, corpus=docs)
    assert tokenizer.encode("a\u2581b") != tokenizer.encode("a b")
    # where the library gives spaces back
    assert tokenizer.decode(tokenizer.encode("\u2581a \u2581")) == "\u2581a \u2581"
