"""Command lines, configs, text files and saved tokenizers, misspelt, mutated and random: a result or one line, no more.

What is written by hand into the assertions is the rule of each format; lmlab raises UserErrors and OSErrors alone.
"""

import gzip
import importlib
import json
import random
import string
import sys

import numpy as np
import pytest
from absl import flags
from hypothesis import HealthCheck, given, settings, strategies as st
from ml_collections import config_flags

from commands import REPOSITORY, command
from lmlab import config as configs
from lmlab import run
from lmlab.data import readers, tokenizers
from lmlab.utils import cli
from lmlab.utils.errors import UserError

NAMES = sorted(path.stem for path in (REPOSITORY / "configs").glob("*.py") if path.stem != "__init__")
MODULES = {name: importlib.import_module(f"configs.{name}") for name in NAMES}
KEYS = [(name, preset, key) for name, module in MODULES.items() for preset in module.PRESETS
        for key in sorted(configs.flat(module.get_config(preset)))]
LETTERS = string.ascii_lowercase + "_"


@pytest.fixture
def parse(monkeypatch):
    """A function from the words of a command line to the config that the verbs would see."""
    monkeypatch.chdir(REPOSITORY)

    def parsed(*words):
        values = flags.FlagValues()
        found = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True, flag_values=values)
        flags.DEFINE_string("workdir", None, "The run's folder.", flag_values=values)
        monkeypatch.setattr(cli.flags, "FLAGS", values)
        monkeypatch.setattr(sys, "argv", ["train", *words])  # ml_collections looks there for overrides
        cli._parse(["train", *words])
        return found.value
    return parsed


def slip(word, pick):
    """The word with one letter dropped, doubled, swapped with the next, put in, or wrong."""
    at, letter = pick.randrange(len(word)), pick.choice(LETTERS)
    return pick.choice([word[:at] + word[at + 1:], word[:at] + word[at] + word[at:], word[:at] + letter + word[at:],
                        word[:at] + word[at:at + 2][::-1] + word[at + 2:], word[:at] + letter + word[at + 1:]])


def refused(function, *arguments):
    """What is said where a function refuses; "" where it does not."""
    try:
        function(*arguments)
    except UserError as error:
        return str(error)
    return ""


def test_every_key_of_every_config_misspelt_is_refused(parse, trials, tally):
    slips, missed, near = 0, [], 0
    for number, (name, preset, key) in enumerate(trials(KEYS[::5], KEYS)):
        module, pick = MODULES[name], random.Random(number)
        section, _, field = key.rpartition(".")
        known, wrong = configs.flat(module.get_config(preset)), key
        while wrong in known or wrong.endswith("."):  # a slip may give a key that there is
            wrong = f"{section}.{slip(field, pick)}".lstrip(".")
        ways = [refused(module.get_config, f"{preset},{wrong}=1"),
                refused(parse, f"--config=configs/{name}.py:{preset}", f"--config.{wrong}=1")]
        slips += len(ways)
        missed += [(number, wrong, said) for said in ways if f"config.{wrong} does not exist" not in said]
        near += sum("did you mean" in said for said in ways)
    tally("a misspelt key", slips, slips - len(missed), f"{near:,} with the right key offered")
    assert not missed, missed[:3]
    assert near > 0.95 * slips


def test_every_key_of_a_wrong_type_is_refused(parse, trials, tally):
    tried, missed = 0, []
    for name, preset, key in trials(KEYS[::9], KEYS):
        module = MODULES[name]
        like = configs.flat(module.get_config(preset))[key]
        wrong = {bool: ["2", "x", ""], int: ["1.5", "x", "", "true"], float: ["x", "", "1,2"], str: []}
        for value in wrong[type(like)]:
            ways = [refused(module.get_config, f"{preset},{key}={value}")] if "," not in value else []
            ways += [refused(parse, f"--config=configs/{name}.py:{preset}", f"--config.{key}={value}")]
            tried += len(ways)
            missed += [(name, key, value, said) for said in ways if f"config.{key}=" not in said]
    tally("a value of a wrong type", tried, tried - len(missed))
    assert not missed, missed[:5]


def test_a_misspelt_key_is_refused_in_seconds(tmp_path, tally):
    done = command("train", "--config=configs/gpt.py:tiny", "--config.train.stpes=5", f"--workdir={tmp_path / 'run'}")
    good = done.code == 1 and done.err.startswith("error: config.train.stpes") and done.err.count("\n") == 1
    tally("a misspelt key at the command line", 1, int(good), f"{done.seconds:.1f} s")
    assert good and done.seconds < 60 and not (tmp_path / "run").exists(), done.err


WORDS = st.one_of(st.text(max_size=12), st.sampled_from([key for _, _, key in KEYS]), st.sampled_from(
    ["tiny", "--config", "--config.", "=", ",", ".", ":", "-", "--", "train", "model.name", "nan", "1e999", "9" * 5000,
     "config.train.steps", "configs/gpt.py", "configs/gpt.py:tiny", "--no", "--flagfile", "\x00", "__class__"]))
QUICK = dict(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


def test_any_text_as_a_config_argument_or_flag_is_a_config_or_one_line(parse, trials, tally):
    get_config, good = MODULES["gpt"].get_config, []

    def outcome(function, *arguments):
        try:
            made = function(*arguments)
            assert made is None or made.is_locked
        except (UserError, OSError) as error:
            assert isinstance(error, OSError) or str(error).isprintable()
        good.append(1)

    @settings(max_examples=trials(300, 10_000), **QUICK)
    @given(st.lists(WORDS, max_size=6).map("".join), st.lists(WORDS, min_size=1, max_size=5).map("".join))
    def check(argument, flag):
        outcome(get_config, argument)
        outcome(get_config, f"tiny,{argument}")
        if "help" not in flag and "flagfile" not in flag:
            outcome(parse, "--config=configs/gpt.py:tiny", flag)
            outcome(parse, "--config=configs/gpt.py:tiny", f"--config.{flag}")
    check()
    tally("any text as a config argument or flag", len(good), len(good))


def mutated(data, rng):
    """Bytes with a few of them flipped, cut, doubled, zeroed, or put in."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at, size, how = int(rng.integers(0, len(data) + 1)), int(rng.integers(1, 30)), int(rng.integers(0, 7))
        if how == 0 and at < len(data):
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif how == 1:
            del data[at:at + size]
        elif how == 2:
            data[at:at] = data[at:at + size]
        elif how == 3:
            data[at:at + size] = bytes(len(data[at:at + size]))
        elif how == 4:
            data[at:at] = rng.integers(0, 256, size, np.uint8).tobytes()
        elif how == 5 and rng.random() < 0.3:
            del data[at:]
        elif how == 6:
            data[at:at] = rng.choice([b'"', b"{", b"[" * 2000, b"\n", b"\r", b"\0", b",", b"\t", b"\xff\xfe", b"1e999",
                                      b"null", b"\\ud800", b"\xed\xa0\x80", b"NaN", b"9" * 5000])
    return bytes(data)


def test_a_mutated_config_is_the_same_or_refused(tmp_path, trials, tally):
    count, bad, same = trials(500, 20_000), [], 0
    config = MODULES["gpt"].get_config("tiny")
    path = tmp_path / "config.json"
    configs.save(config, path)
    whole = path.read_bytes()
    for trial in range(count):
        path.write_bytes(mutated(whole, np.random.default_rng([2, trial])))
        try:
            found = configs.load(path)
            if configs.diff(found, config):  # without its digest a file is as good as written by hand
                run.load_config(tmp_path)
                bad.append((trial, configs.diff(found, config)))
            same += 1
        except (UserError, OSError) as error:
            if str(tmp_path) not in str(error):
                bad.append((trial, error))
        except Exception as error:
            bad.append((trial, error))
    tally("a mutated config.json", count, count - len(bad), f"{same:,} the same, all others refused")
    assert not bad, bad[:3]


ROWS = [f"row {i} of the text, 中文 é" for i in range(8)]
WHOLE = {".txt": "\n".join(ROWS), ".csv": "id,text\n" + "".join(f'{i},"{row} ""x"""\n' for i, row in enumerate(ROWS)),
         ".tsv": "id\ttext\n" + "".join(f"{i}\t{row}\n" for i, row in enumerate(ROWS)),
         ".jsonl": "".join(json.dumps({"id": i, "text": row}) + "\n" for i, row in enumerate(ROWS))}


def by_hand(suffix, data):
    """(documents, damaged records) of a .txt or .jsonl with every damaged record left out, by the rule written out."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return [], 0
    lines, good, damaged = data.removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True), [], 0
    lines = [line + b"\n" for line in b"".join(lines).split(b"\n")]
    lines[-1] = lines[-1][:-1]
    for line in lines:
        try:
            if b"\0" in line:
                raise ValueError
            text = line.decode("utf-8")
            if suffix == ".jsonl" and text.strip():
                text = json.loads(text)["text"]
                assert isinstance(text, str)
            good.append(text)
        except (ValueError, KeyError, TypeError, AssertionError, RecursionError):
            damaged += 1
    return [text for text in (["".join(good)] if suffix == ".txt" else good) if text.strip()], damaged


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".jsonl", ".jsonl.gz", ".txt.gz", "+"])
def test_mutated_and_random_text_files(suffix, tmp_path, trials, tally):
    count, bad, refusals = trials(400, 20_000) // 7 + 1, [], 0
    kind = suffix.removesuffix(".gz") if suffix != "+" else ".txt"
    path = tmp_path / f"a{kind if suffix == '+' else suffix}"
    (tmp_path / "b.txt").write_text("\n".join(ROWS), "utf-8")
    for trial in range(count):
        rng = np.random.default_rng([3, trial])
        data = WHOLE[kind].encode()
        data = mutated(data, rng) if trial % 5 else rng.integers(0, 256, int(rng.integers(0, 300)), np.uint8).tobytes()
        if path.suffix == ".gz":
            packed = gzip.compress(data, mtime=0)
            cut = trial % 3 == 0
            path.write_bytes(mutated(packed, rng) if cut else packed)
        else:
            cut = False
            path.write_bytes(data)
        try:
            for limit in (0, 10 ** 9):
                skip = readers.Damage(limit)
                said = found = None
                try:
                    found = [text for one in readers.find(f"{path}+b.txt" if suffix == "+" else str(path))
                             for text in readers.read(one, "text", skip)]
                except (UserError, OSError) as error:
                    said = str(error)
                    refusals += 1
                    assert str(tmp_path) in said or "a.txt+b.txt" in said
                    assert not skip.seen or limit or "config.data.damaged" in said
                if kind in (".txt", ".jsonl") and suffix != "+" and not cut:
                    texts, damaged = by_hand(kind, data)
                    assert (found or []) == (texts if limit or not damaged else []), (found, texts)
                    assert not limit or len(skip.seen) == damaged
        except Exception as error:
            bad.append((trial, repr(error)[:500]))
    tally(f"a mutated or random {suffix} file", count, count - len(bad), f"{refusals:,} refusals of {2 * count:,}")
    assert not bad, bad[:3]


@pytest.mark.parametrize("name", ["bytes", "chars", "bpe", "unigram", "bbpe", "wordpiece"])
def test_a_mutated_tokenizer_is_the_same_or_refused(name, tmp_path, trials, tally):
    from lmlab.data import corpus
    built = corpus.build(path=str(REPOSITORY / "examples/english.txt"))
    size = {"wordpiece": 200}.get(name, 330)
    tokenizer = tokenizers.build(name, size, specials=("mask", "extra_0"), corpus=built)
    run.save_tokenizer(tokenizer, tmp_path)
    files, bad, same = {path: path.read_bytes() for path in sorted((tmp_path / "tokenizer").iterdir())}, [], 0
    count, sample = trials(60, 20_000 // 6), f"the cats, {ROWS[0]} <mask> [MASK]"
    for trial in range(count):
        rng = np.random.default_rng([4, trial])
        path = list(files)[trial % len(files)]
        path.write_bytes(mutated(files[path], rng)) if rng.random() < 0.97 else path.unlink()
        try:
            found = run.load_tokenizer(tmp_path)
            same += 1
            if found.encode(sample) != tokenizer.encode(sample) or found.specials != tokenizer.specials:
                bad.append((trial, path.name, "another tokenizer"))
        except (UserError, OSError) as error:
            if str(tmp_path / "tokenizer") not in str(error):
                bad.append((trial, path.name, error))
        except BaseException as error:
            bad.append((trial, path.name, repr(error)[:300]))
        path.write_bytes(files[path])
    tally(f"a mutated tokenizer: {name}", count, count - len(bad), f"{same:,} the same, all others refused")
    assert not bad, bad[:3]
