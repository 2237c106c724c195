"""Every tokenizer on hostile text: no crash, no id that is not there, no special token out of text, no silent loss.

A lone surrogate is no text that UTF-8 could hold: at the door of every tokenizer it becomes U+FFFD.
"""

import functools
import hashlib
import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers as library
from hypothesis import HealthCheck, given, settings, strategies as st

from commands import REPOSITORY, environment
from lmlab.data import corpus, tokenizers
from strings import SPECIAL, string

ENGLISH = {"bytes": 0, "chars": 0, "bpe": 512, "unigram": 512, "bbpe": 512, "wordpiece": 700, "wordpiece-uncased": 700,
           "file": 0, "unigram-file": 0}
CHINESE = {"chars": 0, "bpe": 800, "unigram": 800, "bbpe": 600, "wordpiece": 486, "wordpiece-uncased": 486}
EVERY = [*(("english", name) for name in ENGLISH), *(("chinese", name) for name in CHINESE)]
ROLES = ("mask", "unk", "pad", "extra_0", "extra_1")
EXACT = ("bytes", "bpe", "unigram", "bbpe", "file")
CHUNK = 500


def texts(numbers, training, own=()):
    """Hostile texts by number."""
    return [string(number, training, own) for number in numbers]


def utf8(text):
    """What UTF-8 can hold of text, said in another way than lmlab does: pairs of surrogates joined, others U+FFFD."""
    join = lambda pair: chr(0x10000 + (ord(pair[0][0]) - 0xd800) * 0x400 + ord(pair[0][1]) - 0xdc00)
    return re.sub("[\ud800-\udfff]", "\ufffd", re.sub("[\ud800-\udbff][\udc00-\udfff]", join, text))


@functools.cache
def text_of(language):
    """The corpus a tokenizer is trained on, and all of its training text."""
    built = corpus.build(path=str(REPOSITORY / "examples/chinese.jsonl")) if language == "chinese" else corpus.build()
    return built, "\n".join(built.documents("train"))


def a_file(kind, folder):
    """The path of a tokenizer.json with many special tokens: a byte-level BPE, or a T5-like Unigram."""
    built, training = text_of("english")
    if kind == "file":
        made = library.Tokenizer.from_str(tokenizers.build("bbpe", 512, corpus=built)._tokenizer.to_str())
        made.add_special_tokens([token for token in SPECIAL if len(token) > 2])
    else:
        pieces = [("<unk>", 0.0), ("</s>", -1.0), ("\u2581the", -2.0), ("<extra_id_0>", -1.5), ("</s", -3.0)]
        made = library.Tokenizer(library.models.Unigram([*pieces, *((c, -9.0) for c in sorted({*training, "\u2581"}))],
                                                        unk_id=0))
        made.pre_tokenizer, made.decoder = library.pre_tokenizers.Metaspace(), library.decoders.Metaspace()
        made.add_special_tokens(["</s>", "<unk>", "<extra_id_0>", "<pad>"])
    made.save(str(folder / "tokenizer.json"))
    return str(folder / "tokenizer.json")


@pytest.fixture(scope="module", params=EVERY, ids="-".join)
def subject(request, tmp_path_factory):
    """(name, tokenizer, the same extended and saved and loaded, its folder, training text)."""
    language, name = request.param
    folder = tmp_path_factory.mktemp(name)
    built, training = text_of(language)
    if name.endswith("file"):
        tokenizer = tokenizers.build("file", path=a_file(name, folder), corpus=built)
    else:
        tokenizer = tokenizers.build(name, (CHINESE if language == "chinese" else ENGLISH)[name], corpus=built)
    tokenizers.extend(tokenizer, ROLES).save(folder / "saved")
    return name, tokenizer, tokenizers.load(folder / "saved"), folder / "saved", training


def wrong(name, tokenizer, text, ids):
    """What is wrong with the ids of a text; "" if nothing is."""
    forbidden = {tokenizer.eod, *(i for role, i in tokenizer.specials.items() if role != "unk")}
    if forbidden & set(ids):
        return f"special ids {sorted(forbidden & set(ids))}"
    if ids and not 0 <= min(ids) <= max(ids) < tokenizer.vocab_size:
        return f"ids outside [0, {tokenizer.vocab_size})"
    text, back = utf8(text), tokenizer.decode(ids)
    if name == "chars":
        known = set(tokenizer.characters)
        text = "".join(c if c in known else "\ufffd" for c in text)
    elif name not in EXACT:
        return not_in_order(name, tokenizer, text, ids)
    return "" if back == text else f"decodes to {back!r}"


def not_in_order(name, tokenizer, text, ids):
    """What is wrong with ids that keep no spacing: whatever stands between two unk must stand in the text, in order,
    and where there is no unk it must be all of it."""
    bare = lambda value: "".join(value.replace("\u2581", " ").split())
    kept = bare(tokenizer._tokenizer.normalizer.normalize_str(text) if name.startswith("wordpiece") else text)
    unk, at = tokenizer.specials["unk"], 0
    for part in [list(group) for is_unk, group in itertools.groupby(ids, unk.__eq__) if not is_unk]:
        back = bare(tokenizer.decode(part))
        at = kept.find(back, at) + len(back)
        if at < len(back):
            return f"holds {back!r}, which does not stand there in {kept!r}"
    return "" if unk in ids or at == len(kept) else f"ends at {at} of {kept!r}"


def shrunk(fails, text):
    """A shorter text that fails too: parts left out for as long as one can be."""
    size = len(text)
    while size:
        shorter = [text[:at] + text[at + size:] for at in range(0, len(text), size)]
        text, size = next(((candidate, size) for candidate in shorter if fails(candidate)), (text, size // 2))
    return text


def test_the_shrinker_and_the_oracle():
    """They are programs too."""
    assert shrunk(lambda text: "x" in text and "y" in text, "aaaxbbbbycccc") == "xy"
    assert utf8("a\ud83d\ude00\ude00\ud83d") == "a\U0001f600\ufffd\ufffd"


def test_hostile_strings(subject, trials, tally):
    name, tokenizer, loaded, _, training = subject
    own = [token for token in getattr(tokenizer, "_literals", {})]
    count, bad = trials(2_000, 100_000), []
    for start in range(0, count, CHUNK):
        chunk = texts(range(start, start + CHUNK), training, own)
        batch = tokenizer.encode_batch(chunk)
        again = loaded.encode_batch(chunk)
        for number, text, ids, same in zip(range(start, start + CHUNK), chunk, batch, again):
            fault = ("another alone" if tokenizer.encode(text) != ids else "another when loaded" if same != ids
                     else "no decoding when loaded" if loaded.decode(ids) != tokenizer.decode(ids)
                     else wrong(name, tokenizer, text, ids))
            if fault:
                bad.append((number, fault, text))
    tally(f"hostile strings: {subject[3].parent.name}", count, count - len(bad))
    if bad:
        number, fault, text = bad[0]
        text = shrunk(lambda text: wrong(name, tokenizer, text, tokenizer.encode(text)), text)
        pytest.fail(f"{len(bad)} of {count}; the first is number {number}: {fault[:300]}; shrunk: {text!r}, "
                    f"{wrong(name, tokenizer, text, tokenizer.encode(text))}")


def test_hypothesis_finds_nothing_either(subject, trials):
    name, tokenizer, loaded, _, _ = subject

    @settings(max_examples=trials(100, 1000), deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(st.lists(st.one_of(st.text(), st.characters(), st.sampled_from(SPECIAL)), max_size=8).map("".join))
    def check(text):
        ids = tokenizer.encode(text)
        assert not wrong(name, tokenizer, text, ids)
        assert loaded.encode_batch([text, text]) == [ids, ids]
    check()


def digest(tokenizer, training):
    """SHA-256 of the ids of 300 hostile strings."""
    return hashlib.sha256(repr(tokenizer.encode_batch(texts(range(300), training))).encode()).hexdigest()


def test_another_process_gives_the_same_ids(subject, tmp_path):
    _, tokenizer, _, folder, training = subject
    (tmp_path / "text").write_text(training, "utf-8", newline="")
    program = ("import sys; from test_fuzz_tokenizers import digest; from lmlab.data import tokenizers; "
               "print(digest(tokenizers.load(sys.argv[1]), open(sys.argv[2], encoding='utf-8', newline='').read()))")
    paths = ":".join(map(str, (REPOSITORY, REPOSITORY / "tests", Path(__file__).parent)))
    done = subprocess.run([sys.executable, "-c", program, folder, tmp_path / "text"], capture_output=True, text=True,
                          env=environment(PYTHONHASHSEED="7", TOKENIZERS_PARALLELISM="false") | {"PYTHONPATH": paths})
    assert done.stdout.strip() == digest(tokenizer, training), done.stderr[-2000:]


def test_long_runs_end(subject):
    """No pattern of a pre-tokenizer, and no merge, is quadratic: 100,000 characters take a fraction of a second."""
    name, tokenizer, _, _, _ = subject
    for run in ("x", " ", "\n", "e\u0301", "\u2581", "\u4e2d", "ab ", "<|endoftext|>", "[MASK]", "\0",
                "\U0001f469\u200d", "\ud800"):
        text = run * (100_000 // len(run))
        assert not wrong(name, tokenizer, text, tokenizer.encode(text)), ascii(run)
