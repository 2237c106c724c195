"""The tokenizer inside a GGUF file, as a Hugging Face one."""

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from lmlab.data.tokenizers.huggingface import HuggingFace
from lmlab.interop import pieces, tokenizers
from lmlab.utils.errors import UserError

ROLES = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}  # {role: its name in the keys of ids}
_CONTROL, _USER = 3, 4  # of tokenizer.ggml.token_type
_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False)  # words as GPT-2 cuts them
_DIGITS = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _BYTES])


def _words(digits, nfc=False):
    """LLaMA 3's cut into words, with so many digits a word; nfc: of composed characters (Qwen)."""
    cut = Regex(rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,{digits}}}|"
                r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    return pre_tokenizers.Sequence([pre_tokenizers.Split(cut, "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), nfc


_LLAMA3 = ("llama-bpe", "llama3", "llama-v3")  # begin with bos where the file does not say; whole words go unmerged
# tokenizer.ggml.pre: (how text is cut into words, whether characters are composed first)
_PRE = {**dict.fromkeys(("gpt-2", "gpt2", "olmo", "mpt", "phi-2"), (_BYTES, False)),
        **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), (_DIGITS, False)),
        **dict.fromkeys(_LLAMA3, _words(3)),
        **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _words(1, nfc=True))}


def build(path, meta) -> HuggingFace | None:
    """The tokenizer with its special tokens and chat template; None where the file has none.

    Args:
      path: for messages. meta: the file's metadata.
    Raises:
      UserError: for a kind of tokenizer, or a way to cut text into words, that is not known here.
    """
    get = lambda key, default=None: meta.get(f"tokenizer.ggml.{key}", default)
    kind, tokens = str(get("model", "none")), get("tokens")  # a hostile file may say an array
    if kind in ("none", "no_vocab"):
        return None
    kinds = {"gpt2": _byte_level, "llama": _sentencepiece}
    if kind not in kinds:
        raise UserError(f"{path}: tokenizer.ggml.model={kind[:80]!r} is not supported; one of {', '.join(kinds)}")
    try:
        special = {f"{role}_token": tokens[get(f"{key}_token_id")] for role, key in ROLES.items()
                   if get(f"{key}_token_id") is not None}
        return tokenizers.wrap(kinds[kind](path, tokens, get), {
            **special, "add_bos_token": bool(get("add_bos_token", kind == "llama" or get("pre") in _LLAMA3)),
            "chat_template": meta.get("tokenizer.chat_template", "")})
    except UserError:
        raise
    except Exception as error:  # whatever a library makes of metadata that do not fit together
        raise UserError(f"{path}: its tokenizer.ggml metadata do not fit together ({type(error).__name__}: "
                        f"{' '.join(str(error).split())[:200]}); fetch it again") from error


def _byte_level(path, tokens, get):
    """A byte-level BPE (Radford et al. 2019)."""
    pre = get("pre")
    if pre not in _PRE:
        raise UserError(f"{path}: tokenizer.ggml.pre={str(pre)[:80]!r} is not supported; one of {', '.join(_PRE)}")
    pairs = [tuple(merge.split(" ", 1)) for merge in get("merges")]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, pairs,
                                     ignore_merges=pre in _LLAMA3))
    tokenizer.pre_tokenizer, composed = _PRE[pre]
    if composed:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, get("token_type", np.ones(len(tokens))), strict=True):
        if kind in (_CONTROL, _USER):
            tokenizer.add_tokens([AddedToken(token, special=kind == _CONTROL, normalized=False)])
    return tokenizer


def _sentencepiece(path, tokens, get):
    """A BPE of sentencepiece (LLaMA 2, Gemma), whose model is made anew: types of tokens are those of pieces."""
    model = pieces.parse(b"")
    for token, score, kind in zip(tokens, get("scores"), get("token_type"), strict=True):
        model.pieces.add(piece=token, score=score, type=int(kind))
    model.trainer_spec.unk_id = get("unknown_token_id", 0)
    if not get("add_space_prefix", True):
        return pieces.llama(model, "never")
    tokenizer = pieces.llama(model, "always")
    # A space goes before every text, as in sentencepiece and llama.cpp: Hugging Face's Metaspace spares those that
    # begin with one.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(pieces.SPACE),
                                                 normalizers.Replace(" ", pieces.SPACE)])
    return tokenizer
