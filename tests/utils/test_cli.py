"""Errors as one line: the way from an exception to what the user reads."""

import pytest
from absl import flags

from lmlab.utils import cli
from lmlab.utils.errors import UserError, did_you_mean


def ended(monkeypatch, capsys, main):
    """(exit code, standard error) of cli.run(main), past the flags."""
    monkeypatch.setattr(cli.app, "run", lambda main, flags_parser: main([]))
    with pytest.raises(SystemExit) as end:
        cli.run(main)
    return end.value.code, capsys.readouterr().err


def raiser(error):
    def main():
        raise error
    return main


def test_a_user_error_is_one_line(monkeypatch, capsys):
    assert ended(monkeypatch, capsys, raiser(UserError("a\n  b"))) == (1, "error: a b\n")


@pytest.mark.parametrize("error, line", [
    (OSError(28, "No space left on device", "/x/y"), "error: /x/y: No space left on device"),
    (PermissionError(13, "Permission denied", "/x"), "error: /x: Permission denied"), (OSError("odd"), "error: odd")])
def test_a_machine_that_refuses_is_one_line(monkeypatch, capsys, error, line):
    code, err = ended(monkeypatch, capsys, raiser(error))
    assert code == 1 and err.startswith(line) and err.count("\n") == 1


def test_a_traceback_can_be_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("LMLAB_TRACEBACK", "1")
    code, err = ended(monkeypatch, capsys, raiser(UserError("a")))
    assert code == 1 and "Traceback" in err and err.endswith("error: a\n")


def test_control_c_is_no_error(monkeypatch, capsys):
    assert ended(monkeypatch, capsys, raiser(KeyboardInterrupt())) == (130, "stopped\n")


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(cli.app, "run", lambda main, flags_parser: main([]))
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: 1 / 0)


@pytest.mark.parametrize("argv, found", [
    ("v --config=a.py:b --x=1", "a.py:b"), ("v --x=1 --config a.py", "a.py"), ("v -config=a.py --config.a.b=1", "a.py"),
    ("v --help", "")])
def test_the_config_is_found(monkeypatch, argv, found):
    values = flags.FlagValues()
    flags.DEFINE_string("config", None, "The experiment.", flag_values=values)
    monkeypatch.setattr(cli.flags, "FLAGS", values)
    assert cli._config(argv.split()) == found


def test_verbs_without_a_config_need_none(monkeypatch):
    monkeypatch.setattr(cli.flags, "FLAGS", flags.FlagValues())
    assert cli._config(["v", "--run=x"]) == ""


def test_near_words():
    assert did_you_mean("stpes", ["steps", "batch"]) == "; did you mean 'steps'?"
    assert did_you_mean("zzz", ["steps", "batch"]) == ""
    assert did_you_mean(5, [55, "x"]) == "; did you mean '55'?"
    assert issubclass(UserError, ValueError)
