"""The embedded documentation against the imported modules; tfds against what was written into it."""

import inspect
import json
import platform
import subprocess
import sys
import textwrap
from collections import Counter
from types import SimpleNamespace

import pydoc_data.topics
import pytest

from lmlab.data import embedded, sources
from lmlab.utils.errors import UserError


def test_python_docs_is_what_python_itself_says():
    source = embedded.python_docs()
    documents = set(source.streams["all"]())
    for thing in (json, json.dumps, json.JSONDecoder.raw_decode, textwrap.TextWrapper, Counter.most_common):
        assert inspect.getdoc(thing) in documents
    assert {text.strip("\n") for text in pydoc_data.topics.topics.values()} <= documents
    assert source.name == f"python-docs {platform.python_version()}" and source.licence == "PSF-2.0"


def test_python_docs_corpus_is_two_megabytes_that_share_no_document(docs):
    texts = {split: list(docs.documents(split)) for split in docs.splits}
    size = {split: len("".join(found).encode()) for split, found in texts.items()}
    assert 1.2e6 < sum(size.values()) < 4e6
    assert all(0.02 < size[split] / sum(size.values()) < 0.10 for split in ("validation", "test"))
    keys = [" ".join(text.split()) for found in texts.values() for text in found]
    assert len(keys) == len(set(keys))


def test_python_docs_imports_nothing():
    code = ("import sys; from lmlab.data import embedded; s = embedded.python_docs(); "
            "print(sum(1 for _ in s.streams['all']())); print({'pydoc_data', 'turtle'} & set(sys.modules))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, imported = run.stdout.splitlines()
    assert int(count) > 3000 and imported == "set()"


def test_python_calls_are_what_python_itself_says():
    source = embedded.python_calls()
    pairs = dict(text.split("\x1f") for text in source.streams["all"]())
    assert source.kind == "pairs" and source.name == f"python-calls {platform.python_version()}"
    assert 4000 < len(pairs) < 12000 and len(set(pairs.values())) == len(pairs)
    for thing, module in ((textwrap.indent, "textwrap"), (json.load, "json"), (textwrap.TextWrapper, "textwrap")):
        arguments = inspect.signature(thing.__init__ if inspect.isclass(thing) else thing)
        call = f"{module}.{thing.__qualname__}{arguments}"
        sentence = " ".join(inspect.getdoc(thing).split("\n\n")[0].split())
        found = [target for source, target in pairs.items() if source.startswith(f"{module}.{thing.__qualname__}(")]
        assert found and sentence.startswith(found[0]) and (inspect.isclass(thing) or call in pairs)
    assert all(source.strip() and target.strip() and "\n" not in target for source, target in pairs.items())


def test_python_calls_imports_nothing_and_is_the_same_again(tmp_path, monkeypatch):
    texts = list(embedded.python_calls().streams["all"]())
    code = ("import json, sys; from lmlab.data import embedded; s = embedded.python_calls(); "
            "print(list(s.streams['all']()) == json.load(sys.stdin), {'turtle', 'tkinter'} & set(sys.modules))")
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
    run = subprocess.run([sys.executable, "-c", code], input=json.dumps(texts), capture_output=True, text=True,
                         check=True)
    assert run.stdout.split() == ["True", "set()"]


def prepare_tfds(folder, splits):
    """Has tfds write a folder of ArrayRecord and reads it back through our corpus, in a fresh process."""
    code = f"""
import json, sys
import numpy
import tensorflow_datasets as tfds
from lmlab.data import corpus

class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    def _info(self):
        return tfds.core.DatasetInfo(builder=self,
            features=tfds.features.FeaturesDict({{"body": tfds.features.Text(), "n": numpy.int64}}))
    def _split_generators(self, dl_manager):
        return {{split: self._generate_examples(split, n) for split, n in {splits!r}.items()}}
    def _generate_examples(self, split, n):
        for i in range(n):
            yield i, {{"body": f"{{split}} 文 {{i}}", "n": i}}

builder = Tiny(data_dir={str(folder)!r}, file_format="array_record")
builder.download_and_prepare()
built = corpus.build("tfds", str(builder.data_path), field="body")
print(json.dumps([built.name, {{split: sorted(built.documents(split)) for split in built.splits}},
                  "tensorflow" in sys.modules]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_tfds_keeps_its_own_splits_without_tensorflow(tmp_path):
    name, texts, tensorflow = prepare_tfds(tmp_path, {"train": 5, "validation": 2, "test": 3})
    assert name == "tiny/1.0.0" and not tensorflow
    assert texts == {split: sorted(f"{split} 文 {i}" for i in range(n))
                     for split, n in (("train", 5), ("validation", 2), ("test", 3))}


def test_tfds_without_validation_has_it_cut_from_train(tmp_path):
    _, texts, tensorflow = prepare_tfds(tmp_path, {"train": 200, "test": 3})
    assert not tensorflow and len(texts["test"]) == 3
    assert sorted(texts["train"] + texts["validation"]) == sorted(f"train 文 {i}" for i in range(200))
    assert 2 <= len(texts["validation"]) <= 25


def test_a_record_of_tfds_that_is_not_utf8_is_refused_or_left_out(monkeypatch, tmp_path):
    import tensorflow_datasets
    records = [{"text": b"one"}, {"text": b"\xff\xfe"}, {"text": "two"}]
    splits = {"train": records, "validation": records[:1]}
    info = SimpleNamespace(features=["text"], splits=list(splits), full_name="x/1",
                           redistribution_info=SimpleNamespace(license=""))
    builder = SimpleNamespace(info=info, as_data_source=splits.get)
    monkeypatch.setattr(tensorflow_datasets, "builder_from_directory", lambda path: builder)
    with pytest.raises(UserError, match="record 1 of train .from 0. is not UTF-8"):
        list(sources.tfds(str(tmp_path)).streams["train"]())
    left_out = []
    assert list(sources.tfds(str(tmp_path), skip=left_out.append).streams["train"]()) == ["one", "two"]
    assert len(left_out) == 1
