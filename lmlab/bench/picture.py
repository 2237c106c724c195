"""What a suite found, as bars with their intervals."""

import math

from lmlab.utils import plots
from lmlab.utils.timing import Race, number, ratio

OTHERS = (plots.TRAIN, "#c6c6c6", "#969696")
COLUMNS = 3


def draw(path, found):
    """A panel for each of the Races, or one with the ratios of all Comparisons; returns the path."""
    races = isinstance(found[0], Race)
    columns = (2 if len(found) == 4 else min(COLUMNS, len(found))) if races else 1
    rows = math.ceil(len(found) / columns) if races else 1
    size = (4.4 * columns, 3.4 * rows) if races else (9, 1 + 0.4 * len(found))
    figure, grid = plots.plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    panels = grid.flat
    if races:
        for axes, race in zip(panels, found):
            _race(axes, race)
        for axes in list(grid.flat)[len(found):]:
            axes.axis("off")
    else:
        _comparisons(next(panels), found)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plots.plt.close(figure)
    return path


def _race(axes, race):
    shown = [race.shown(way) for way in race.figures]
    colours = [plots.HELD_OUT, *(OTHERS[i % len(OTHERS)] for i in range(len(shown) - 1))]
    axes.bar(range(len(shown)), [s.median for s in shown], color=colours, yerr=_arms(shown), capsize=4,
             ecolor=plots.INK, width=0.65)
    axes.set_xticks(range(len(shown)), [way.replace(", ", ",\n") for way in race.figures], fontsize=9)
    axes.set_ylabel(race.unit)
    title = race.what
    if race.rivals:
        rival, ahead = race.best()
        title += f"\n{ahead.median:.2f} × {rival}"
    axes.set_title(title, fontsize=10, parse_math=False)
    top = max(s.high if math.isfinite(s.high) else s.median for s in shown)
    axes.set_ylim(0, 1.15 * top)
    for x, s in enumerate(shown):
        axes.annotate(number(s.median), (x, s.high if math.isfinite(s.high) else s.median), ha="center", fontsize=8,
                      textcoords="offset points", xytext=(0, 4), color=plots.INK)


def _comparisons(axes, found):
    ratios = [ratio(c.base, c.other) for c in found]
    places = range(len(found) - 1, -1, -1)
    axes.errorbar([r.median for r in ratios], places, xerr=_arms(ratios), fmt="o", color=plots.HELD_OUT, capsize=4)
    axes.plot([c.claim or math.nan for c in found], places, "|", markersize=14, color="#d95f02",
              label="said to be below")
    axes.axvline(1, color=plots.INK, linewidth=0.8)
    axes.set_yticks(places, [c.what for c in found], fontsize=9)
    axes.set_ylim(-0.6, len(found) - 0.4)
    axes.set_xlabel("with / without")
    if any(c.claim for c in found):
        axes.legend(frameon=False, fontsize=9)


def _arms(found):
    """Lengths of the error bars; none where too few rounds give no interval."""
    arm = lambda length: length if math.isfinite(length) else 0.0
    return [[arm(s.median - s.low) if math.isfinite(s.high) else 0.0 for s in found],
            [arm(s.high - s.median) for s in found]]
