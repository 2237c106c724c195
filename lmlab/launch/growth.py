"""How a plan grows with the number of devices: a table and a picture."""

from pathlib import Path

from lmlab.launch import plan, report, search
from lmlab.utils import plots
from lmlab.utils.files import write_json, write_text

PARTS = (("parameters", "parameter_bytes", plots.HELD_OUT), ("optimizer", "optimizer_bytes", "#6baed6"),
         ("activations, gradients, temporaries", "temporary_bytes", "#d9d9d9"))


def grow(config, topologies, vocab_size=0, tell=print) -> list:
    """The plans for each topology, from few devices to many: the mesh's -1 takes what there is, and the rows a device
    are those that config.train.batch gives on the first."""
    plans, first = [], len(plan.devices(topologies[0]))
    for topology in topologies:
        count = len(plan.devices(topology))
        batch = config.train.batch * count // first
        plans.append(plan.of_config(search.changed(config, {"train.batch": batch}), topology, vocab_size))
        tell(report.table(plans[-1]) + "\n")
    return plans


def draw(plans, folder) -> Path:
    """Writes growth.png, growth.md and growth.json in a folder; returns the picture's path."""
    folder = Path(folder)
    names = [f"{p.topology}\n{report.layout(p.mesh)}" for p in plans]
    figure, (left, right) = plots.plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    base = [0.0] * len(plans)
    for label, field, color in PARTS:
        heights = [getattr(p, field) / 2 ** 30 for p in plans]
        left.bar(names, heights, 0.6, base, label=label, color=color)
        base = [a + b for a, b in zip(base, heights)]
    for i, p in enumerate(plans):
        left.annotate(f"{base[i]:.1f}" if p.fits else "does not fit", (i, base[i]), ha="center", va="bottom",
                      fontsize=9)
    if plans[0].capacity:
        left.axhline(plans[0].capacity / 2 ** 30, color=plots.INK, linestyle="--", linewidth=1, label="there is")
    left.set_ylim(top=1.45 * max([*base, plans[0].capacity / 2 ** 30]))
    left.set(ylabel="GiB a device", title="memory")
    left.legend(frameon=False, fontsize=8, loc="upper right")
    right.plot(names, [p.compile_seconds for p in plans], "o-", color=plots.HELD_OUT)
    right.set(ylabel="seconds", title="compiling the step")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "growth.png", dpi=110)
    plots.plt.close(figure)
    write_text(folder / "growth.md", "\n\n".join(map(report.table, plans)) + "\n")
    write_json(folder / "growth.json", [{"topology": p.topology, "mesh": p.mesh, "fits": p.fits, **{
        field: getattr(p, field) for _, field, _ in PARTS}, "compile_seconds": p.compile_seconds} for p in plans])
    return folder / "growth.png"
