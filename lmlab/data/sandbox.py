"""Jinja templates that came with a model: rendered in a sandbox, with bounds on steps and on the size of what is made.

What they may use is what transformers gives them, but for a few filters and functions that no chat needs. Bounded are
the lines run (_STEPS) and the time that they take (_SECONDS), the size of every string, list and dict that an operator,
a call, a filter or the template itself makes (_LARGE; a list counts with all that is in it, as often as it is in it),
and the numbers handed to one. It all happens in this process, and nothing stops a single call; but none has much to do.
"""

import contextlib
import datetime
import functools
import json
import operator
import re
import sys
import time
import types

import jinja2
from jinja2 import nodes, sandbox
from jinja2.utils import Namespace

from lmlab.utils.errors import UserError

_STEPS = 1_000_000
_SECONDS = 30
_LARGE = 2_000_000  # characters or items; also the largest number that a call may be handed
_INDENT = 100  # columns
_MADE = "-made"  # the name of a filter, which no template can write
_LEFT_OUT = ("wordwrap", "urlize", "pprint")  # slow on long texts
_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")  # marks an answer for training
_WIDTH = re.compile(r"\d{6}|\*")  # in a format


class _TooMuch(Exception):
    """A template went over a bound."""


def render(source: str, values: dict) -> str:
    """The text that a template makes of values (plain data only).

    Raises:
      UserError: where it is no template, refuses the values, fails, or goes over a bound.
    """
    try:
        template = _compile(source)
    except Exception as error:  # Jinja's own, and whatever Python says of the program that it makes
        line = getattr(error, "lineno", None)
        raise UserError(f"the chat template is no valid Jinja{f' in line {line}' if line else ''}: {_said(error)}"
                        ) from error
    try:
        with _counted():
            return template.render(values)
    except Exception as error:  # whatever a stranger's template may do to plain data
        raise UserError(f"the chat template refuses these messages, or fails on them: {_said(error)}") from error


def _said(error: Exception) -> str:
    """An error's message, in one short line."""
    text = " ".join(str(error).split())[:200]
    return text if text and isinstance(error, (jinja2.TemplateError, _TooMuch)) else f"{type(error).__name__}: {text}"


@functools.lru_cache(maxsize=16)
def _compile(source: str) -> jinja2.Template:
    """The template, its operators, calls and filters bounded."""
    env = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                extensions=["jinja2.ext.loopcontrols"])
    env.filters |= {"tojson": _tojson, "format": _format}
    env.finalize = _shown
    env.globals |= {"raise_exception": _raise, "strftime_now": lambda form: datetime.datetime.now().strftime(form)}
    env.globals.pop("lipsum")
    env.filters = {name: _bounded(function, plain=True) for name, function in env.filters.items()
                   if name not in _LEFT_OUT} | {_MADE: _made}
    env.concat = _concat
    env.intercepted_binops = frozenset(("+", "*", "**", "%"))
    env.call_binop = lambda context, sign, left, right: _operate(sign, left, right)
    call, wrap = env.call, env.wrap_str_format
    env.wrap_str_format = lambda value: _checked_format(value, wrap(value))
    env.call = lambda context, function, *args, **kwargs: _bounded(
        functools.partial(call, context, function), getattr(function, "__self__", None),
        getattr(function, "__name__", ""))(*args, **kwargs)
    tree = env.parse(_GENERATION.sub(lambda m: f"{m[1]}{'endif' if m[2] else 'if true'}{m[3]}", source))
    for parent in reversed(list(tree.find_all(nodes.Node))):  # a ~ b cannot be intercepted, but a + b can
        for name, value in parent.iter_fields():
            if isinstance(value, list):
                value[:] = [_checked(item) for item in value]
            else:
                setattr(parent, name, _checked(value))
    return env.from_string(tree)


def _checked(node):
    """a ~ b as a|string + b|string, [a, b] as [a, b]|_MADE; any other node as it is."""
    through = lambda part, name: nodes.Filter(part, name, [], [], None, None, lineno=node.lineno)
    if isinstance(node, nodes.Concat):
        texts = [through(part, "string") for part in node.nodes]
        return functools.reduce(lambda left, right: nodes.Add(left, right, lineno=node.lineno), texts)
    parts = isinstance(node, (nodes.List, nodes.Tuple, nodes.Dict)) and node.items
    return through(node, _MADE) if parts and getattr(node, "ctx", "load") == "load" else node


def _made(value):
    """A list, tuple or dict that the template writes down."""
    _check(_size(value))
    return value


def _shown(value):
    """What {{ }} writes out."""
    if not isinstance(value, str):
        _check(_size(value))
    return value


def _operate(sign, left, right):
    """left SIGN right, unless the result would be too large."""
    sizes = [_size(x) if isinstance(x, (str, list, tuple)) else None for x in (left, right)]
    if sign == "+" and None not in sizes:
        _check(sum(sizes))
    elif sign == "*" and sizes != [None, None]:
        _check(max(a * b for a, b in ((sizes[0] or 0, right), (sizes[1] or 0, left)) if isinstance(b, int)))
    elif sign in ("*", "**"):
        _check(*(abs(x) for x in (left, right) if sign == "**" or isinstance(x, int)))
        _check(10_000 * abs(right) if sign == "**" else 0)
    elif sign == "%":
        _check_format(left, right)
    return {"+": operator.add, "*": operator.mul, "**": operator.pow, "%": operator.mod}[sign](left, right)


def _bounded(function, owner=None, name=None, plain=False):
    """The function with its numbers, and the size of what it gives, bounded. owner, name: of a method. plain: whether
    it refuses namespaces, which would be written out with all that they hold."""
    name = (name or getattr(function, "__name__", "")).removeprefix("do_")

    @functools.wraps(function, updated=("__dict__",) if hasattr(function, "__dict__") else ())
    def call(*args, **kwargs):
        args = [_held(x) if isinstance(x, types.GeneratorType) else x for x in args]
        given = [owner, *args, *kwargs.values()]
        _check(*(abs(x) for x in given if isinstance(x, int)))
        if plain and any(isinstance(x, Namespace) for x in given):
            raise _TooMuch("a namespace where text should be")
        if name in ("indent", "_tojson"):
            _check(*(_LARGE // _INDENT * x for x in given if isinstance(x, int)))
        texts = [x for x in given if isinstance(x, str)]
        if name == "replace" and len(texts) > 2:
            _check(texts[0].count(texts[1]) * len(texts[2]))
        if name in ("join", "sum", "string"):
            many = max([len(x) for x in given if isinstance(x, (list, tuple, range))] or [1])
            _check(_size(given) + max(map(len, texts), default=0) * many)
        out = function(*args, **kwargs)
        _check(0 if isinstance(out, Namespace) else _size(out))
        return out
    return call


def _checked_format(method, made):
    """`made`, Jinja's safe form of a text's method format, with its bound; None where `method` is something else."""
    @functools.wraps(method, updated=())
    def call(*args, **kwargs):
        _check_format(method.__self__, args, kwargs)
        return made(*args, **kwargs)
    return made and call


def _check_format(form, *values):
    """Bounds what a format makes of values: its widths, and each of its fields as long as all texts in them."""
    if isinstance(form, str):
        if _WIDTH.search(form):
            raise _TooMuch("a format with a width over five digits")
        fields = form.count("{") + form.count("%")
        _check(sum(map(int, re.findall(r"\d+", form))) + fields * _size(values))


def _size(value, known=None) -> int:
    """The length of all texts, lists and dicts in a value, each as often as it is there. known: sizes by id."""
    if isinstance(value, Namespace):
        raise _TooMuch("a namespace where text should be")
    if not isinstance(value, (list, tuple, dict)):
        return len(value) if isinstance(value, str) else 0
    known = {} if known is None else known
    if id(value) not in known:
        items = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = len(value) + sum(_size(item, known) for item in items)
    return known[id(value)]


def _held(items) -> list:
    """The items of a generator, unless they are too large together."""
    held, size = [], 0
    for item in items:
        held.append(item)
        size += 1 + _size(item)
        _check(size)
    return held


def _concat(parts):
    """The text of the parts that a template, a macro or a block wrote."""
    parts = list(parts)
    _check(sum(map(len, parts)))
    return "".join(parts)


def _check(*sizes):
    if max(sizes, default=0) > _LARGE:
        raise _TooMuch(f"it makes something larger than {_LARGE}")


@contextlib.contextmanager
def _counted():
    """Raises _TooMuch in a template that runs over _STEPS lines or _SECONDS."""
    steps, end = 0, time.monotonic() + _SECONDS

    def line(frame, event, _):
        nonlocal steps
        steps += 1
        if steps > _STEPS:
            raise _TooMuch(f"it runs for more than {_STEPS} steps")
        if time.monotonic() > end:
            raise _TooMuch(f"it runs for more than {_SECONDS} seconds")
        return line

    before = sys.gettrace()
    sys.settrace(lambda frame, event, _: line if frame.f_code.co_filename == "<template>" else None)
    try:
        yield
    finally:
        sys.settrace(before)


def _raise(message):
    raise jinja2.TemplateError(message)


def _format(form, *args, **kwargs):
    """Jinja's own is not bounded."""
    return _operate("%", str(form), kwargs or args)


def _tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    """Jinja's own would escape < and > as for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
