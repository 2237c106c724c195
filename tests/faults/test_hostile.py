"""Hostile files against every reader: nothing in them is run, nothing is written outside, no reader hangs, takes all
memory or fails in a way that is not one clean line. 10,000 of them in the full version.
"""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import hostile
import hostile_models
import hostile_tokenizers
from commands import environment, quick, tiny
from lmlab import interop
from lmlab.data.tokenizers import huggingface
from lmlab.interop.names import shapes
from lmlab.models import presets
from lmlab.models.spec import Spec

KINDS = hostile.OURS | hostile_models.MODELS | hostile_tokenizers.TOKENIZERS
SEED = 4
LONG = 300  # seconds that tell a hang from a slow reader on a busy machine
TFDS = """
import sys
import tensorflow_datasets as tfds

class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))
    def _split_generators(self, manager):
        return {"train": ((i, {"text": f"text {i}"}) for i in range(9)), "validation": [(0, {"text": "held out"})]}
    def _generate_examples(self):
        pass

Tiny(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
"""


def sound(folder):
    """Sound originals: hf/ (a tiny LLaMA), run/, tfds/."""
    words = huggingface.HuggingFace.train(["the cat and the dog " * 9, "then these"], 262)
    kwargs = presets.get("llama2", width=8, layers=1, heads=2, kv_heads=0, ff=16, context=64) | {"vocab_size": 262}
    params = {}
    for path, shape in shapes(Spec(**kwargs)).items():
        part = params
        for name in path.split("/")[:-1]:
            part = part.setdefault(name, {})
        part[path.split("/")[-1]] = np.zeros(shape, np.float32)
    interop.save(folder / "hf", kwargs, params, words)
    shutil.copytree(tiny() / "run", folder / "run", ignore=shutil.ignore_patterns("events.*", "plots"))
    subprocess.run([sys.executable, "-c", TFDS, str(folder / "data")],
                   env=environment(1), check=True, capture_output=True)
    shutil.move(folder / "data" / "tiny" / "1.0.0", folder / "tfds")
    return folder


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder of sound originals."""
    return sound(tmp_path_factory.mktemp("good"))


class Bench:
    """A place for hostile files, and a worker process that reads them; made anew where it crashes or hangs."""

    def __init__(self, base, good):
        self.base, self.worker = base, None
        self.place = hostile.Place(base / "outside", good)
        for name in ("outside", "home", "cwd", "cache", "tmp"):
            (base / name).mkdir(parents=True)
        (base / "outside" / "secret").write_text("secret\n")
        shutil.copy(good / "hf" / "model.safetensors", base / "outside" / "secret.safetensors")

    def start(self):
        """A worker that has everything imported."""
        env = environment(1, HOME=str(self.base / "home"), TMPDIR=str(self.base / "tmp"), TF_CPP_MIN_LOG_LEVEL="3",
                          LMLAB_CACHE=str(self.base / "cache"), JAX_COMPILATION_CACHE_DIR="", RUST_BACKTRACE="0",
                          PYTHONDONTWRITEBYTECODE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
        program = Path(hostile.__file__).with_name("hostile_worker.py")
        self.worker = subprocess.Popen([sys.executable, str(program), str(self.base)], cwd=self.base / "cwd", env=env,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                       encoding="utf-8")
        assert self.worker.stdout.readline(), "the worker does not start"

    def stop(self):
        """Ends the worker."""
        if self.worker is not None:
            self.worker.kill()
            self.worker.communicate()
            self.worker = None

    def ask(self, reader, path, seconds=LONG):
        """[how it ended, message, where, what the audit saw] of one reader on one path."""
        if self.worker is None:
            self.start()
        hung = threading.Event()
        alarm = threading.Timer(seconds, lambda: (hung.set(), self.worker.kill()))
        alarm.start()
        with contextlib.suppress(BrokenPipeError):
            self.worker.stdin.write(json.dumps({"reader": reader, "path": path}) + "\n")
            self.worker.stdin.flush()
        answer = self.worker.stdout.readline()
        alarm.cancel()
        if answer:
            return json.loads(answer)
        code = self.worker.wait()
        self.stop()
        return ["FAILED", f"no answer in {seconds} s" if hung.is_set() else f"the process ended with {code}", "", []]

    def faults(self, reader, path, **limits):
        """What is wrong with how a reader took a path; and how it ended."""
        before = self.snapshot()
        how, message, where, seen = self.ask(reader, path, **limits)
        found = [*seen, *(["the canary: a command was run"] if self.place.canary.exists() else [])]
        after = self.snapshot()
        found += [f"{path}: was changed" for path in sorted(before | after) if before.get(path) != after.get(path)]
        made = [path for part in ("cache", "tmp") for path in (self.base / part).rglob("*")]
        found += [f"{path}: a link or a program was made" for path in made
                  if path.is_symlink() or path.is_file() and path.stat().st_mode & 0o6111]
        if how == "FAILED":
            found.append(f"{message} {where}")
        elif not message.isprintable() or how == "UserError" and not 10 < len(message) < 2000:
            found.append(f"no clean line: {message[:300]!r}")
        return found, how

    def snapshot(self):
        """{path: what tells whether it was changed} of all but cache/ and tmp/, where readers may write."""
        found = {name: "" for name in os.listdir(self.base)}
        for part in ("case", "outside", "home", "cwd"):
            for folder, folders, files in os.walk(self.base / part):
                for path in (os.path.join(folder, name) for name in folders + files):
                    stat = os.lstat(path)
                    found[path] = stat.st_mode, stat.st_size, stat.st_mtime_ns
        return found

    def clean(self):
        """Forgets the case."""
        for name in ("case", "cache"):
            subprocess.run(["chmod", "-R", "u+rwX", str(self.base / name)], stderr=subprocess.DEVNULL)
            shutil.rmtree(self.base / name, ignore_errors=True)
        (self.base / "cache").mkdir()
        self.place.canary.unlink(missing_ok=True)

    def trial(self, i):
        """(kind, readers tried, {how: count}, faults) of case i."""
        kind, tries = hostile.make(self.base / "case", self.place, SEED, i, KINDS)
        ends, wrong = Counter(), []
        for reader, path in tries:
            found, how = self.faults(reader, path)
            ends[how] += 1
            if found:
                wrong.append(f"case {i} ({kind}), {reader}, {os.path.relpath(path, self.base)!r}: {'; '.join(found)}")
        self.clean()
        return kind, ends, wrong


@pytest.fixture(scope="module")
def benches(tmp_path_factory, good):
    """Two of them."""
    made = [Bench(tmp_path_factory.mktemp("bench"), good) for _ in range(2)]
    yield made
    for bench in made:
        bench.stop()


@pytest.mark.filterwarnings("ignore:Duplicate name")  # what zipfile says while such archives are made
def test_no_hostile_file_is_obeyed(benches, trials, tally):
    number, free = trials(400, 10_000), queue.SimpleQueue()
    for bench in benches:
        free.put(bench)

    def one(i):
        bench = free.get()
        try:
            return bench.trial(i)
        finally:
            free.put(bench)
    with ThreadPoolExecutor(len(benches)) as pool:
        done = list(pool.map(one, range(number)))
    ends, kinds = sum((ends for _, ends, _ in done), Counter()), Counter(kind for kind, _, _ in done)
    wrong = [line for _, _, found in done for line in found]
    tally("hostile file", number, sum(not found for _, _, found in done),
          f"{len(kinds)} kinds, {ends.total():,} times given to a reader: {ends['read']:,} read, the others refused")
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:40])
    assert len(kinds) == len(KINDS) and ends["read"] > 10 and ends["UserError"] > 100, (kinds, ends)


@pytest.mark.parametrize("name", [*hostile.pickles(b"true")])
def test_each_pickle_runs_its_command_where_one_unpickles(name, benches):
    bench = benches[0]
    bench.clean()
    path = bench.base / "case" / "model.bin"
    hostile._write(path, hostile.pickles(bench.place.command)[name])
    assert "the canary: a command was run" in bench.faults("unpickles", str(path))[0]
    bench.clean()


CONTROLS = {"unzips": "changed", "writes beside it": "changed", "hangs": "no answer in 5 s", "raises": "KeyError",
            "takes memory": "MemoryError", "crashes": "the process ended with -6"}


def test_the_harness_sees_all_that_no_reader_does(benches):
    bench = benches[0]
    bench.clean()
    path = bench.base / "case" / "model.zip"
    path.parent.mkdir()
    path.write_bytes(hostile._zip({"../outside/evil": b"x"}))
    for reader, told in CONTROLS.items():
        assert told in "; ".join(bench.faults(reader, str(path), seconds=5)[0]), reader
    assert (bench.base / "outside" / "evil").exists()
    assert bench.faults("weights", str(path)) == ([], "UserError")
    for reader, path in (("load", "hf"), ("tokenizer", "hf"), ("tokenizer", "hf/tokenizer.json"), ("load", "run"),
                         ("tfds", "tfds"),
                         ("weights", "hf"), ("own_tokenizer", "run"), ("checkpoint", "run/checkpoints")):
        assert bench.faults(reader, str(bench.place.good / path)) == ([], "read"), reader  # what is sound is read
    sound = bench.base / "model.gguf"
    sound.write_bytes(hostile_models.sound_gguf())
    assert bench.faults("load", str(sound)) == bench.faults("gguf", str(sound)) == ([], "read")
    bench.clean()


def test_names_cannot_write_to_the_terminal(tmp_path):
    for name in ("a\nerror: all is well", "\x1b]0;owned\x07\x1b[2J", "a\rb", "\x9b31m", "\u202egpj", "\udcff"):
        path = tmp_path / name
        path.mkdir()
        (path / "config.json").write_bytes(b"\0")
        (path / "text.txt").write_bytes(b"\0")
        for flags in (("generate", f"--run={path}"),
                      ("evaluate", f"--run={tiny() / 'run'}", f"--path={path / 'text.txt'}")):
            done = quick(*flags)
            assert done.code == 1 and done.err.startswith("error: ") and done.err.count("\n") == 1
            assert done.err[:-1].isprintable(), repr(done.err)
