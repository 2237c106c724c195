"""Tokenizers of Hugging Face's folders, in and out: tokenizer.json, or the files that came before it.

What is read is what transformers would make of the same folder; text that only looks like a special token stays text.
"""

import json
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors

from lmlab.data.tokenizers import wordpiece
from lmlab.data.tokenizers.extended import Extended
from lmlab.data.tokenizers.huggingface import EOD, FILE, ROLES, HuggingFace, checked, read
from lmlab.interop import pieces, weights
from lmlab.utils.errors import UserError
from lmlab.utils.files import write_json, write_text

_NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")  # NAME_token in tokenizer_config.json
# What each kind of tokenizer has where its files do not say.
_BERT = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"}
_GPT2 = {"unk_token": EOD, "bos_token": EOD, "eos_token": EOD}
_T5 = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
_ROBERTA = {**_T5, "bos_token": "<s>", "sep_token": "</s>", "cls_token": "<s>", "mask_token": "<mask>"}
_LLAMA = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
_GEMMA = {**_T5, "bos_token": "<bos>", "eos_token": "<eos>", "mask_token": "<mask>", "add_bos_token": True}
_SENTINELS = 10_000  # of T5, which has 100
_LONGEST = 2 ** 20  # bytes of a chat template
_SPM = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")


def load(folder) -> HuggingFace | None:
    """The tokenizer of a folder that transformers could load; None where it has none.

    `encode` gives transformers' ids without the special tokens that it puts around a text; specials["bos"] is what it
    puts in front of one (-1: nothing; LLaMA's and Gemma's sentencepiece models begin with bos unless told otherwise).

    Raises:
      UserError: for a damaged file, or a kind of tokenizer that is not known here; it names the file.
    """
    folder = Path(folder)
    settings = _settings(folder)
    found = next((name for name in (FILE, "vocab.txt", "source.spm", "vocab.json", *_SPM) if (folder / name).is_file()),
                 None)
    if found is None:
        return None
    try:
        if found == FILE:
            tokenizer, defaults = read(folder / FILE), {}
        elif found == "vocab.txt":
            tokenizer, defaults = _wordpiece(folder / found, settings), _BERT
        elif found == "vocab.json":
            tokenizer, defaults = _byte_level(folder, settings)
        else:
            tokenizer, defaults = _sentencepiece(folder / found, settings)
        return wrap(checked(tokenizer), {**defaults, **settings})
    except (UserError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # bare Exceptions of the library's, and panics, which are none
        raise UserError(f"{folder / found}: damaged, or no tokenizer that lmlab knows ({_line(error)}); fetch it again"
                        ) from error


def wrap(tokenizer: tokenizers.Tokenizer, settings: dict) -> HuggingFace:
    """A Hugging Face tokenizer with what a tokenizer_config.json (and a config.json) says of it.

    Args:
      settings: bos_token .. mask_token (text, or a dict with "content"), add_bos_token, added_tokens_decoder,
        additional_special_tokens, chat_template, decoder_start_token_id, eos_token_id.
    """
    listed = settings.get("additional_special_tokens") or settings.get("extra_special_tokens") or []
    listed = list(listed.values()) if isinstance(listed, dict) else listed
    names = {name: _content(settings.get(f"{name}_token")) for name in _NAMES}
    names = {name: token for name, token in names.items() if token}
    for _, token in sorted((settings.get("added_tokens_decoder") or {}).items(), key=lambda item: int(item[0])):
        if tokenizer.token_to_id(token["content"]) is None or token.get("special"):
            tokenizer.add_tokens([AddedToken(**{k: v for k, v in token.items() if k != "__type"})])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False)
                                  for token in dict.fromkeys([*names.values(), *map(_content, listed)])
                                  if not _is_special(tokenizer, token)])
    ids = {name: tokenizer.token_to_id(token) for name, token in names.items()}
    if "add_bos_token" in settings or "add_eos_token" in settings:
        _put_around(tokenizer, **{name: (names[name], ids[name]) for name in ("bos", "eos")
                                  if settings.get(f"add_{name}_token") and name in names})
    specials = {role: ids[role] for role in ("mask", "cls", "pad", "unk") if role in ids}
    specials["bos"] = _front(tokenizer)
    if isinstance(settings.get("decoder_start_token_id"), int):
        specials["decoder_start"] = settings["decoder_start_token_id"]
    eos = settings.get("eos_token_id")
    eos = eos[0] if isinstance(eos, list) and eos else eos
    eod = ids.get("eos", ids.get("sep", eos if isinstance(eos, int) else -1))
    return HuggingFace(tokenizer, "file", eod=eod, specials=specials, chat_template=_chat_template(settings),
                       variables={f"{name}_token": token for name, token in names.items()})


def save(tokenizer, folder) -> None:
    """Writes tokenizer.json and tokenizer_config.json, from which transformers makes the same tokenizer.

    Ids are the same for every text (but see pieces.own) as long as it holds no special token written out, which
    transformers takes for one. Around a text it puts [CLS] and [SEP] where there is a "cls", eod behind it where there
    are sentinels or a decoder_start, else eod in front, as lmlab has it before a prompt. A tokenizer that came from
    such a folder keeps its own.
    """
    base, added = (tokenizer.base, tokenizer.added) if isinstance(tokenizer, Extended) else (tokenizer, ())
    made = _library(base)
    taken = made.get_vocab()
    for i, role in enumerate(added, base.vocab_size):
        name = ROLES.get(role, (f"<{role}>",))[-1] if role != "cls" else "<cls>"
        while name in taken:
            name = f"<{name}>"
        made.add_special_tokens([AddedToken(name, normalized=False)])
        if made.token_to_id(name) != i:
            raise UserError(f"{folder}: tokenizer.json cannot give {name} the id {i}, since ids below it are unused; "
                            "use a tokenizer whose ids are 0, 1, 2, ...")
    named = {f"{role}_token": i for role, i in tokenizer.specials.items() if role in _NAMES and i >= 0}
    named["eos_token"] = tokenizer.eod
    if base.kind == "file":  # it has its own names, and what it puts around a text
        own = getattr(base, "variables", {})
        config = {name: made.id_to_token(i) for name, i in named.items() if not own or i >= base.vocab_size} | own
    else:
        named |= {"sep_token": tokenizer.eod} if "cls_token" in named else {}
        config = {name: made.id_to_token(i) for name, i in {"bos_token": tokenizer.eod, **named}.items()}
        made.post_processor = _around(tokenizer.specials, made.id_to_token, tokenizer.eod)
    if tokenizer.chat_template:
        config["chat_template"] = tokenizer.chat_template
    write_text(Path(folder) / FILE, made.to_str())
    write_json(Path(folder) / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **config})


def _around(specials, name_of, eod):
    """What stands around a text: see `save`."""
    end = name_of(eod)
    if "cls" in specials:
        first = name_of(specials["cls"])
        return processors.TemplateProcessing(single=[first, "$A", end], pair=[first, "$A", end, "$B:1", f"{end}:1"],
                                             special_tokens=[(first, specials["cls"]), (end, eod)])
    one = ["$A", end] if "decoder_start" in specials or "extra_0" in specials else [end, "$A"]
    return processors.TemplateProcessing(single=one, pair=[*one, *("$B" if part == "$A" else part for part in one)],
                                         special_tokens=[(end, eod)])


def _library(base) -> tokenizers.Tokenizer:
    """The Hugging Face tokenizer with the ids of one of lmlab's own."""
    if isinstance(base, HuggingFace):
        return tokenizers.Tokenizer.from_str(json.dumps(base.to_json()))
    if base.kind in ("bpe", "unigram"):
        return pieces.own(pieces.parse(base.model))
    if base.kind == "bytes":
        shown = [*range(33, 127), *range(161, 173), *range(174, 256)]  # the bytes that GPT-2 writes as they are
        hidden = [byte for byte in range(256) if byte not in shown]
        made = tokenizers.Tokenizer(models.BPE(
            {chr(byte): byte for byte in shown} | {chr(256 + n): byte for n, byte in enumerate(hidden)}, []))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        made.decoder = decoders.ByteLevel()
        made.add_special_tokens([EOD])
        return made
    alphabet = {character: i for i, character in enumerate(base.characters, 2)}
    unknown = "<unk>" if "\ufffd" in alphabet else "\ufffd"
    made = tokenizers.Tokenizer(models.BPE({EOD: base.eod, unknown: base.specials["unk"], **alphabet}, [],
                                           unk_token=unknown))
    made.decoder = decoders.Fuse()
    made.add_special_tokens([EOD, unknown])
    return made


def _settings(folder: Path) -> dict:
    """config.json, special_tokens_map.json and tokenizer_config.json in one, the last before the first."""
    out = {}
    for name in ("config.json", "special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            out |= {key: value for key, value in _json(folder / name).items() if value is not None}
    if (folder / "added_tokens.json").is_file() and not (folder / FILE).is_file():
        old = {str(i): {"content": token} for token, i in _json(folder / "added_tokens.json").items()}
        out["added_tokens_decoder"] = old | (out.get("added_tokens_decoder") or {})
    if (folder / "chat_template.jinja").is_file():
        out["chat_template"] = _template(folder / "chat_template.jinja")
    return out


def _json(path: Path) -> dict:
    return weights.read_json(path, weights.map_file(path))


def _template(path: Path) -> str:
    content = weights.map_file(path)
    if content.size > _LONGEST:
        raise UserError(f"{path}: {content.size} bytes, more than {_LONGEST}: this is no chat template")
    try:
        return content.tobytes().decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; fetch it again") from None


def _wordpiece(path: Path, settings: dict) -> tokenizers.Tokenizer:
    """BERT's, from its list of words."""
    vocabulary = {line: i for i, line in enumerate(path.read_text("utf-8").removesuffix("\n").split("\n"))}
    token = {name: _content(settings.get(name)) or default for name, default in _BERT.items()}
    made = wordpiece.build(vocabulary, lowercase=bool(settings.get("do_lower_case", True)),
                           strip_accents=settings.get("strip_accents"), unknown=token["unk_token"],
                           chinese=bool(settings.get("tokenize_chinese_chars", True)))
    made.post_processor = _around({"cls": vocabulary[token["cls_token"]]}, made.id_to_token,
                                  vocabulary[token["sep_token"]])
    return made


def _byte_level(folder: Path, settings: dict) -> tuple[tokenizers.Tokenizer, dict]:
    """GPT-2's and RoBERTa's, from their vocabulary and merges."""
    kind = _kind(settings)
    if not kind.startswith(("gpt2", "roberta", "bart", "none")):
        raise UserError(f"{folder}/vocab.json: how {kind!r} cuts text into words is not known; write a {FILE} beside "
                        "it")
    vocabulary = _json(folder / "vocab.json")
    if not (folder / "merges.txt").is_file():
        raise UserError(f"{folder}/merges.txt: missing; vocab.json is of no use without it")
    lines = (folder / "merges.txt").read_text("utf-8").split("\n")
    pairs = [tuple(line.split()) for line in lines if line.strip() and not line.startswith("#version")]
    made = tokenizers.Tokenizer(models.BPE(vocabulary, pairs, fuse_unk=False))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=bool(settings.get("add_prefix_space")))
    made.decoder = decoders.ByteLevel()
    if "<mask>" not in vocabulary:
        return made, _GPT2
    made.post_processor = processors.RobertaProcessing(("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]))
    return made, _ROBERTA


def _sentencepiece(path: Path, settings: dict) -> tuple[tokenizers.Tokenizer, dict]:
    """T5's, XLM-R's, LLaMA's, Gemma's or Marian's, as config.json or tokenizer_config.json names it."""
    model, kind = pieces.read(path), _kind(settings)
    if path.name == "source.spm":
        return pieces.marian(model, _json(path.parent / "vocab.json")), _T5
    if kind.startswith(("t5", "mt5")):
        extra = settings.get("extra_ids", 100)
        if type(extra) is not int or not 0 <= extra <= _SENTINELS:
            raise UserError(f"{path.parent}: extra_ids={str(extra)[:80]!r} must be a number up to {_SENTINELS}")
        return pieces.t5(model, extra), _T5
    if kind.startswith("xlm"):
        return pieces.xlm_roberta(model), _ROBERTA
    if kind.startswith("gemma"):
        return pieces.gemma(model), _GEMMA
    if kind.startswith(("llama", "mistral", "mixtral")):
        prefix = "always" if settings.get("legacy") else "first"
        return pieces.llama(model, prefix if settings.get("add_prefix_space", True) else "never"), _LLAMA
    raise UserError(f"{path}: whose sentencepiece model this is, {kind!r}, is not known; one of T5, XLM-RoBERTa, "
                    f"LLaMA, Mistral, Gemma, Marian; or write a {FILE} beside it")


def _kind(settings: dict) -> str:
    """Whose tokenizer it is: the class of transformers that it is for, or else the model's type."""
    named = str(settings.get("tokenizer_class") or "").lower()
    generic = not named or named.startswith(("pretrained", "tokenizersbackend"))
    return str(settings.get("model_type")).lower() if generic else named


def _put_around(tokenizer, bos=None, eos=None) -> None:
    """Makes the tokenizer put bos in front of a text, and eos behind it; each a (token, id), or None."""
    around = lambda text: [token if isinstance(token, str) else token[0] for token in (bos, text, eos) if token]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=around("$A"), pair=around("$A") + around("$B"), special_tokens=[token for token in (bos, eos) if token])


def _front(tokenizer) -> int:
    """What the tokenizer puts in front of a text: the id of a special token, or -1."""
    probe = "a \U000f0000"  # with a character that nobody has, to find out now if that is an error
    inside = tokenizer.encode(probe, add_special_tokens=False).ids
    whole = tokenizer.encode(probe).ids
    return whole[0] if whole[:len(inside)] != inside else -1


def _is_special(tokenizer, token: str) -> bool:
    added = tokenizer.get_added_tokens_decoder().get(tokenizer.token_to_id(token))
    return added is not None and added.content == token and added.special


def _content(token) -> str:
    """A special token is written as text, or as a dict."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")


def _chat_template(settings: dict) -> str:
    """One template, or the one that is named default of several."""
    template = settings.get("chat_template") or ""
    if isinstance(template, list):
        template = {part["name"]: part["template"] for part in template}.get("default", "")
    return str(template)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
