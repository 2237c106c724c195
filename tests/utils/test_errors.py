"""What a UserError shows: one line, and nothing that a terminal would obey."""

import pytest

from lmlab.utils.errors import UserError

SHOWN = [("runs/a: no such file", "runs/a: no such file"), ("春眠 é  x", "春眠 é x"),
         ("a\nerror: b\r\tc", "a error: b c"),
         ("\x1b]0;x\x07", "\\x1b]0;x\\x07"), ("\u202egpj.exe", "\\u202egpj.exe"), ("\x9b31m\x7f", "\\x9b31m\\x7f"),
         ("\udcff", "\\udcff"), ("\0", "\\x00"),
         ("9" * 5000 + "; fetch it again", "9" * 1000 + " ... " + "9" * 384 + "; fetch it again")]


@pytest.mark.parametrize("said, shown", SHOWN)
def test_one_clean_line(said, shown):
    assert str(UserError(said)) == shown
