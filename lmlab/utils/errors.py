"""Errors that are the user's to mend, and how they are worded: what, where, what would do."""

import difflib
import math


class UserError(ValueError):
    """A mistake in a command, a config or a file. Its one line is all that the user is shown."""

    def __str__(self):
        return one_line(super().__str__())


def one_line(text) -> str:
    """text in one line that a terminal can be trusted with, whatever names or files gave parts of it: what is not
    printable (control characters, marks that turn the direction of writing, halves of characters) is written out, and
    the middle of a long text left out."""
    text = " ".join(text.split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(text) < 1500 else f"{text[:1000]} ... {text[-400:]}"


def did_you_mean(word, known) -> str:
    """"; did you mean 'steps'?" for the nearest of `known`, or "" where none is near."""
    near = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def divisors(*numbers, most=None) -> str:
    """"1, 2, 4": what divides them all, up to `most`."""
    common = math.gcd(*numbers)
    return ", ".join(str(d) for d in range(1, min(common, most or common) + 1) if common % d == 0)
