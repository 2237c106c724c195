"""Processes that name one another by halves, and the ways of several of one (see faults/test_elastic.py)."""

import pytest

from lmlab.utils import processes
from lmlab.utils.errors import UserError


@pytest.mark.parametrize("values", [
    ("", "2", "0"), ("", "", "1"), ("localhost:1", "two", "0"), ("localhost:1", "2", "x")])
def test_half_a_name_is_refused_before_anybody_is_waited_for(values, monkeypatch):
    for name, value in zip(processes.SIGNS, values):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="JAX_COORDINATOR_ADDRESS"):
        processes.join()


def test_without_any_sign_one_process_is_alone(monkeypatch):
    for name in processes.SIGNS:
        monkeypatch.delenv(name, raising=False)
    processes.join()
    processes.leave(SystemExit(1))
    assert processes.together(lambda: 7) == [7] and processes.together(lambda: 7, first=True) == 7
    assert processes.alike(lambda: "text", len) == "text"
