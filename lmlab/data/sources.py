"""Where text comes from: the Python documentation on this machine, the user's files, prepared tfds folders.

A source is a name, a licence, and streams: {"all": text still to be split} or {"train": ..., "validation":
...}, each a function that starts a fresh pass over the documents. Nothing is held in memory but the document
in hand. """

import ast
import json
import platform
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from lmlab.data import readers
from lmlab.utils.errors import UserError
from lmlab.utils.files import cache_dir, sha256, write_text

_NOT_DOCUMENTATION = {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages",
                      "pydoc_data", "__pycache__"}


class Source(NamedTuple):
    """Text before the split: streams maps "all", "train", "validation" or "test" to a stream."""

    name: str
    licence: str
    streams: dict[str, Callable[[], Iterator[str]]]
    single_text: bool = False  # one plain text file: it can only be split by its tail


def files(path: str, *, field: str = "text", validation_path: str = "", test_path: str = "") -> Source:
    """The user's own .txt, .csv and .jsonl files (.gz of each): a .txt is one document, a row is one
    document.

    Args:
      path: file names or globs, comma separated. validation_path, test_path: the same, held-out text in files
        of its own. field: the csv column or jsonl field that holds the text.
    Raises:
      UserError: for a path that matches nothing, and at the first pass for a file that cannot be read as
    text. """
    if test_path and not validation_path:
        raise UserError("config.data.test_path is set and config.data.validation_path is not; set both")
    names = {"train" if validation_path else "all": path, "validation": validation_path, "test": test_path}
    found = {split: readers.find(names[split]) for split in names if names[split]}
    streams = {split: lambda paths=paths: (text for one in paths for text in readers.read(one, field))
               for split, paths in found.items()}
    first = next(iter(found.values()))
    name = first[0].name if len(first) == 1 else f"{len(first)} files ({first[0].name} ...)"
    single = len(first) == 1 and readers.kind(first[0]) == ".txt"
    return Source(name, "the user's own", streams, single)


def python_docs() -> Source:
    """The running Python's own documentation: `help()` topics, then every docstring of the standard library.

    The files are parsed, never imported. What was found is cached, under the Python's version and its files'
    sizes. """
    root = Path(sysconfig.get_paths()["stdlib"])
    modules = sorted(path for path in root.rglob("*.py")
                     if not _NOT_DOCUMENTATION & set(path.relative_to(root).parts[:-1]))
    topics = root / "pydoc_data" / "topics.py"
    installed = [path for path in (topics, *modules) if path.is_file()]
    listing = [(str(path.relative_to(root)), path.stat().st_size) for path in installed]
    key = sha256(json.dumps([1, sys.version, listing]))[:16]
    cached = cache_dir() / "python_docs" / f"{platform.python_version()}-{key}.jsonl"
    if not cached.is_file():
        documents = [*_topics(topics), *(text for path in modules for text in _docstrings(path))]
        if not documents:
            raise UserError(f"config.data.source=python_docs: no standard library source under {root}; "
                            "name files of your own with config.data.path=")
        write_text(cached, "".join(json.dumps({"text": text}) + "\n" for text in documents))
    return Source(f"python-docs {platform.python_version()}", "PSF-2.0",
                  {"all": lambda: readers.read(cached, "text")})


def tfds(path: str, *, field: str = "text") -> Source:
    """A data set prepared by tfds as ArrayRecord, read without TensorFlow; its own splits are kept.

    Args:
      path: the folder with dataset_info.json (.../name/config/version). field: the text feature.
    Raises:
      UserError: for a folder that is no such data set, or has no such feature or no train split.
    """
    import tensorflow_datasets  # slow to import, and only wanted here

    try:
        builder = tensorflow_datasets.builder_from_directory(path)
        features, splits = list(builder.info.features), list(builder.info.splits)
    except Exception as error:  # tfds raises many kinds for a folder that is not its own
        raise UserError(f"config.data.path={path}: not a folder prepared by tfds ({type(error).__name__}); "
                        "it must hold dataset_info.json") from error
    if field not in features:
        raise UserError(f"config.data.field={field}: no such feature in {path}; it has {', '.join(features)}")
    if "train" not in splits:
        raise UserError(f"config.data.path={path}: no train split; it has {', '.join(splits) or 'none'}")

    def stream(split: str) -> Iterator[str]:
        for record in builder.as_data_source(split):
            value = record[field]
            yield value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    own = [split for split in ("train", "validation", "test") if split in splits]
    streams = {"all" if split == "train" and "validation" not in own else split: split for split in own}
    licence = str(builder.info.redistribution_info.license or "") or "not stated by the data set"
    return Source(str(builder.info.full_name), licence,
                  {name: lambda split=split: stream(split) for name, split in streams.items()})


def _topics(path: Path) -> Iterator[str]:
    """The texts of pydoc_data/topics.py by topic name; none where it is not installed."""
    if not path.is_file():
        return
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            pairs = [(key.value, value.value) for key, value in zip(node.value.keys, node.value.values)
                     if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)]
            yield from (text.strip("\n") for _, text in sorted(pairs))


def _docstrings(path: Path) -> Iterator[str]:
    """The docstrings of a module, its classes and functions, in the file's order, indents removed."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # templates and the like are not Python
        return
    nodes = [node for node in ast.walk(tree)
             if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))]
    for node in sorted(nodes, key=lambda node: getattr(node, "lineno", 0)):
        text = ast.get_docstring(node)  # cleaned as inspect.cleandoc does
        if text:
            yield text
