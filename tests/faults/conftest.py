"""What the tests of faults share: how many trials, and the table of what came of them.

`./run.sh test --all` runs the short version of each, `./run.sh faults --full` the long one.
"""

from pathlib import Path

import pytest

TALLY = pytest.StashKey()


def pytest_collection_modifyitems(items):
    """All of them are slow."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def trials(request):
    """(short, full) -> how many trials this session makes."""
    return lambda short, full: full if request.config.getoption("--full") else short


@pytest.fixture(scope="session")
def tally(request):
    """(fault, trials, good, note) adds a row to the table at the end of the session."""
    rows = request.config.stash.setdefault(TALLY, [])
    return lambda fault, trials, good, note="": rows.append((fault, trials, good, note))


def pytest_terminal_summary(terminalreporter, config):
    """Prints the table, and what failed or was skipped with it."""
    rows = config.stash.get(TALLY, [])
    if rows:
        rows = rows + [(report.nodeid.split("::")[-1], 1, 0, how.upper()) for how in ("failed", "error", "skipped")
                       for report in terminalreporter.stats.get(how, ())]
        terminalreporter.section("faults")
        for row in [("fault", "trials", "survived", "note"), ("---", "---:", "---:", "---"), *rows]:
            terminalreporter.line("| " + " | ".join(f"{x:,}" if isinstance(x, int) else x for x in row) + " |")
