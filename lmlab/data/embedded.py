"""Text that every Python brings along: its documentation, and its functions each with what it says of itself.

The files are parsed, never imported. What was found is cached, under the Python's version and its files' sizes.
"""

import ast
import json
import platform
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lmlab.data import readers
from lmlab.data.sources import Source
from lmlab.utils.errors import UserError
from lmlab.utils.files import cache_dir, sha256, write_text

_NOT_DOCUMENTATION = {"test", "tests", "idle_test", "idlelib", "lib2to3", "site-packages", "dist-packages",
                      "pydoc_data", "__pycache__"}
_LONGEST_SENTENCE = 200  # characters
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def python_docs() -> Source:
    """The running Python's own documentation: `help()` topics, then every docstring of the standard library."""
    return _cached("python_docs", "python-docs", lambda root, modules: (
        {"text": text} for text in (*_topics(root / "pydoc_data" / "topics.py"),
                                    *(text for path in modules for text in _docstrings(path)))), "text")


def python_calls() -> Source:
    """Pairs from the running Python's standard library: a function or class with its arguments, as in
    "textwrap.indent(text, prefix, predicate=None)", and the first sentence of its docstring. Of those with the same
    sentence only the first stands there. """
    return _cached("python_calls", "python-calls", _calls, "source,target")


def _cached(name: str, title: str, collect: Callable[[Path, list[Path]], Iterable[dict]], field: str) -> Source:
    """The source whose rows `collect` finds: (standard library's folder, its modules) -> rows of a jsonl file."""
    root = Path(sysconfig.get_paths()["stdlib"])
    modules = sorted(path for path in root.rglob("*.py")
                     if not _NOT_DOCUMENTATION & set(path.relative_to(root).parts[:-1]))
    installed = [path for path in (root / "pydoc_data" / "topics.py", *modules) if path.is_file()]
    listing = [(str(path.relative_to(root)), path.stat().st_size) for path in installed]
    key = sha256(json.dumps([1, sys.version, listing]))[:16]
    cached = cache_dir() / name / f"{platform.python_version()}-{key}.jsonl"
    if not cached.is_file():
        rows = list(collect(root, modules))
        if not rows:
            raise UserError(f"config.data.source={name}: no standard library source under {root}; "
                            "name files of your own with config.data.path=")
        write_text(cached, "".join(json.dumps(row) + "\n" for row in rows))
    return Source(f"{title} {platform.python_version()}", "PSF-2.0", {"all": lambda: readers.read(cached, field)},
                  kind="pairs" if "," in field else "text")


def _topics(path: Path) -> Iterator[str]:
    """The texts of pydoc_data/topics.py by topic name; none where it is not installed."""
    if not path.is_file():
        return
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            pairs = [(key.value, value.value) for key, value in zip(node.value.keys, node.value.values)
                     if isinstance(key, ast.Constant) and isinstance(value, ast.Constant)]
            yield from (text.strip("\n") for _, text in sorted(pairs))


def _parse(path: Path) -> ast.Module:
    """A module's syntax tree; an empty one for templates and the like, which are not Python."""
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _docstrings(path: Path) -> Iterator[str]:
    """The docstrings of a module, its classes and functions, in the file's order, indents removed."""
    nodes = [node for node in ast.walk(_parse(path)) if isinstance(node, (ast.Module, ast.ClassDef, *_FUNCTIONS))]
    for node in sorted(nodes, key=lambda node: getattr(node, "lineno", 0)):
        text = ast.get_docstring(node)  # cleaned as inspect.cleandoc does
        if text:
            yield text


def _calls(root: Path, modules: list[Path]) -> Iterator[dict]:
    """{"source": call, "target": sentence} of the modules, by the order of their files."""
    seen = set()
    for path in modules:
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for name, node in _definitions(_parse(path), module):
            sentence = _first_sentence(ast.get_docstring(node) or "")
            if sentence and len(sentence) <= _LONGEST_SENTENCE and sentence not in seen:
                seen.add(sentence)
                yield {"source": name + _arguments(node), "target": sentence}


def _definitions(node: ast.AST, name: str) -> Iterator[tuple[str, ast.AST]]:
    """(qualified name, node) of the classes and functions of a module or class, those within functions left out."""
    for child in node.body:
        if isinstance(child, (ast.ClassDef, *_FUNCTIONS)):
            yield f"{name}.{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from _definitions(child, f"{name}.{child.name}")


def _arguments(node: ast.AST) -> str:
    """"(a, b=1)" of a function, or of a class by its __init__; "" for a class without one."""
    if isinstance(node, ast.ClassDef):
        node = next((child for child in node.body if isinstance(child, _FUNCTIONS) and child.name == "__init__"), None)
    return f"({ast.unparse(node.args)})" if node else ""


def _first_sentence(text: str) -> str:
    """The first sentence of a text's first paragraph, on one line."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.match(r".*?[.!?](?=\s|$)|.*", paragraph).group()
