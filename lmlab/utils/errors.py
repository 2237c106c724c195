"""Errors that are the user's to mend, and how they are worded: what, where, what would do."""

import difflib


class UserError(ValueError):
    """A mistake in a command, a config or a file. Its one line is all that the user is shown."""


def did_you_mean(word, known) -> str:
    """"; did you mean 'steps'?" for the nearest of `known`, or "" where none is near."""
    near = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
