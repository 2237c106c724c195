"""sentencepiece models as Hugging Face `tokenizers`: those of T5, LLaMA, Gemma and XLM-R, and lmlab's own.

A sentencepiece BPE joins, of all neighbours whose join is a piece, those with the best score, the leftmost first; a
unigram model takes the segmentation with the best sum of scores (Kudo 2018).
"""

from pathlib import Path

import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from lmlab.data.tokenizers.huggingface import check_charsmap
from lmlab.utils.errors import UserError
from lmlab.utils.files import read_bytes

SPACE = "\u2581"  # what sentencepiece writes for a space
_NORMAL, _UNKNOWN, _CONTROL, _USER, _BYTE = 1, 2, 3, 4, 6  # the types of pieces
_UNIGRAM, _BPE = 1, 2


def read(path: str | Path):
    """The sentencepiece model in a file, as its protocol buffer; UserError if it is none."""
    try:
        model = parse(read_bytes(path))
        known = model.trainer_spec.model_type in (_UNIGRAM, _BPE) and len(model.pieces) > 0
    except Exception as error:  # the library raises its own DecodeError
        raise UserError(f"{path}: not a sentencepiece model ({type(error).__name__}); fetch it again") from error
    if not known:
        raise UserError(f"{path}: no sentencepiece model of type BPE or unigram; fetch it again")
    return model


def parse(content: bytes):
    """A sentencepiece model as its protocol buffer."""
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(content)
    return model


def merges(pieces: list[str], normal: set[str]) -> list[tuple[str, str]]:
    """The pairs whose join is a piece of `normal`, the piece with the lowest place in `pieces` first.

    Hugging Face ranks pairs where sentencepiece ranks joins: pairs of one join come in the order that lets the leftmost
    of two overlapping ones win: that is the one which ends with what the other begins with.
    """
    known, out = set(pieces), []
    for piece in pieces:
        if piece in normal:
            cuts = [n for n in range(1, len(piece)) if piece[:n] in known and piece[n:] in known]
            cuts.sort(key=lambda n: (piece.endswith(piece[:n]) - piece.startswith(piece[n:]), -n))
            out += [(piece[:n], piece[n:]) for n in cuts]
    return out


def t5(model, extra: int = 100) -> tokenizers.Tokenizer:
    """T5's (Raffel et al. 2020): a unigram model, and `extra` sentinels after it, <extra_id_0> the last."""
    sentinels = [f"<extra_id_{n}>" for n in reversed(range(extra))]
    tokenizer = _unigram(model, _scored(model) + [(name, 0.0) for name in sentinels], model.trainer_spec.unk_id)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", *sentinels])
    return tokenizer


def xlm_roberta(model) -> tokenizers.Tokenizer:
    """XLM-R's (Conneau et al. 2020): a unigram model whose ids are moved by one, as fairseq has them."""
    first = ["<s>", "<pad>", "</s>", "<unk>"]
    scored = [(name, 0.0) for name in first] + _scored(model)[3:] + [("<mask>", 0.0)]
    tokenizer = _unigram(model, scored, first.index("<unk>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.add_special_tokens([*first, "<mask>"])
    return tokenizer


def marian(model, vocabulary: dict[str, int]) -> tokenizers.Tokenizer:
    """Marian's (Junczys-Dowmunt et al. 2018), for text in the source language: its unigram model over the ids that both
    languages share.

    A character that only the target's pieces have becomes its piece, where transformers makes it unknown; punctuation
    is not changed (transformers changes it where sacremoses is installed).
    """
    names = sorted(vocabulary, key=vocabulary.get)
    if [vocabulary[name] for name in names] != list(range(len(names))):
        raise ValueError("vocab.json: its ids are not 0, 1, 2, ...")
    scores = dict(_scored(model))
    scored = [(name, scores.get(name, 9 * min(scores.values()) - 10)) for name in names]
    tokenizer = _unigram(model, scored, vocabulary["<unk>"])
    tokenizer.normalizer = normalizers.Sequence([*[tokenizer.normalizer] * (tokenizer.normalizer is not None),
                                                 normalizers.Strip(), normalizers.Replace(Regex(" +"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", vocabulary["</s>"])])
    tokenizer.add_special_tokens([name for name in ("</s>", "<unk>", "<pad>") if name in vocabulary])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names
                          if name.startswith(">>") and name.endswith("<<")])  # ">>fra<<": translate to French
    return tokenizer


def llama(model, prefix: str = "first") -> tokenizers.Tokenizer:
    """LLaMA 2's and Mistral's (Touvron et al. 2023): a BPE with bytes to fall back on.

    Args:
      prefix: which words get a space in front: "first" of the text, "always" after special tokens too, or "never".
    """
    tokenizer = _bpe(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme=prefix, split=False)
    strip = [] if prefix == "never" else [decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence([_spaces(), decoders.ByteFallback(), decoders.Fuse(), *strip])
    return tokenizer


def gemma(model) -> tokenizers.Tokenizer:
    """Gemma's (2024): a BPE with bytes to fall back on and no space put in front."""
    tokenizer = _bpe(model)
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Sequence([_spaces(), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([token for token in ("<start_of_turn>", "<end_of_turn>")
                                  if tokenizer.token_to_id(token) is not None])
    return tokenizer


def own(model) -> tokenizers.Tokenizer:
    """One that lmlab trained (data.tokenizers.pieces): the same ids for every text.

    Spaces are written as spaces, so that a mark that stands in the text is what it is there: three bytes. All but a
    few texts: sentencepiece adds a unigram model's scores up in float32, so that of two segmentations whose sums differ
    in the seventh digit it may take the other one.
    """
    scored = [(piece.replace(SPACE, " "), score) for piece, score in _scored(model)]
    names = [piece for piece, _ in scored]
    normal = {names[i] for i, piece in enumerate(model.pieces) if piece.type == _NORMAL}
    if model.trainer_spec.model_type == _BPE:
        tokenizer = tokenizers.Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, merges(names, normal),
                                                    unk_token=names[0], byte_fallback=True))
    else:
        # Hugging Face finds every piece in the text, be it a byte's or a control one: they must be dearer than any
        # other way to write them, and of what no piece is written with, words are cut.
        least = min(score for name, score in scored if name in normal)
        scored = [(name, score if name in normal else 9 * least - 10) for name, score in scored]
        tokenizer = tokenizers.Tokenizer(models.Unigram(scored, 0, byte_fallback=True))
        rare = sorted(set("<>/0123456789xABCDEFunks") - normal)
        if rare:
            tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f"[{''.join(rare)}]"), "isolated")
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    _add(tokenizer, model, names)
    tokenizer.add_special_tokens([names[0]])
    return tokenizer


def _scored(model) -> list[tuple[str, float]]:
    return [(piece.piece, piece.score) for piece in model.pieces]


def _add(tokenizer, model, names) -> None:
    """Control pieces become special tokens, the user's own pieces added ones: no merge crosses them."""
    for name, piece in zip(names, model.pieces):
        if piece.type in (_CONTROL, _USER):
            tokenizer.add_tokens([AddedToken(name, special=piece.type == _CONTROL, normalized=False)])


def _unigram(model, scored, unknown) -> tokenizers.Tokenizer:
    """A unigram model of words, each with a space in front."""
    tokenizer = tokenizers.Tokenizer(models.Unigram(scored, unknown))
    if model.normalizer_spec.precompiled_charsmap:
        check_charsmap(model.normalizer_spec.precompiled_charsmap)
        tokenizer.normalizer = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                                       pre_tokenizers.Metaspace(SPACE, prepend_scheme="always")])
    tokenizer.decoder = decoders.Metaspace(SPACE, prepend_scheme="always")
    return tokenizer


def _bpe(model) -> tokenizers.Tokenizer:
    names = [piece.piece for piece in model.pieces]
    normal = {piece.piece for piece in model.pieces if piece.type == _NORMAL}
    unknown = names[model.trainer_spec.unk_id]
    tokenizer = tokenizers.Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, merges(names, normal),
                                                unk_token=unknown, fuse_unk=True, byte_fallback=True))
    _add(tokenizer, model, names)
    tokenizer.add_special_tokens([unknown])
    return tokenizer


def _spaces() -> decoders.Decoder:
    return decoders.Replace(SPACE, " ")
