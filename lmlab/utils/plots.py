"""Pictures of a run: loss, learning rate, throughput, and one page that tells its story."""

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first: no screen is needed)

INK, TRAIN, HELD_OUT = "#333333", "#9ecae1", "#08519c"
LINES = {"unigram_bits_per_byte": ("unigram", "#7f7f7f"), "lzma_bits_per_byte": ("lzma", "#d95f02"),
         "lzma_primed_bits_per_byte": ("lzma primed with the training text", "#7570b3")}


def series(rows, name):
    """(steps, values) of the rows that have `name`."""
    found = [(r["step"], r[name]) for r in rows if name in r]
    return [s for s, _ in found], [v for _, v in found]


def draw_run(folder, rows, summary, samples=(), title=""):
    """Draws plots/loss.png, rate.png, throughput.png and story.png in a run folder; returns their paths.

    Args:
      rows: of metrics.jsonl. summary: the baselines' bits per byte, `tokens_per_byte` of the held-out text.
      samples: [(label, text)] for the story.
    """
    folder = Path(folder) / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    return [_curve(folder / "rate.png", rows, "rate", "learning rate", title),
            _curve(folder / "throughput.png", rows, "tokens_per_second", "tokens per second", title),
            _loss(folder / "loss.png", rows, summary, title),
            _story(folder / "story.png", rows, summary, samples, title)]


def _curve(path, rows, name, label, title):
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(*series(rows, name), color=HELD_OUT)
    axes.set(xlabel="step", ylabel=label, title=title)
    axes.set_ylim(bottom=0)
    return _save(figure, path)


def _loss(path, rows, summary, title):
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    loss_axes(axes, rows, summary)
    axes.set_title(title)
    return _save(figure, path)


def loss_axes(axes, rows, summary):
    """Bits per byte over steps: training, held out, and the baselines as lines.

    The training loss, in nats a token, is drawn in bits per byte by the held-out text's tokens a byte.
    """
    steps, losses = series(rows, "loss")
    scale = summary["tokens_per_byte"] / 0.6931471805599453
    axes.plot(steps, [x * scale for x in losses], color=TRAIN, label="training")
    held_steps, held = series(rows, "val_bits_per_byte")
    axes.plot(held_steps, held, "o-", color=HELD_OUT, label="held out")
    for name, (label, colour) in LINES.items():
        if name in summary:
            axes.axhline(summary[name], color=colour, linestyle="--", linewidth=1.2,
                         label=f"{label}: {summary[name]:.2f}")
    lowest = [x * scale for x in losses] + held + [summary[n] for n in LINES if n in summary]
    axes.set_ylim(0.9 * min(lowest), 1.15 * max(held[:1] + [summary.get("unigram_bits_per_byte", 0)]))
    axes.set(xlabel="step", ylabel="bits per byte")
    if held:
        axes.annotate(f"{held[-1]:.2f}", (held_steps[-1], held[-1]), textcoords="offset points", xytext=(-4, -14),
                      ha="right", color=HELD_OUT, fontweight="bold")
    axes.legend(frameon=False, fontsize=9)


def _story(path, rows, summary, samples, title):
    figure = plt.figure(figsize=(12, 5.4), layout="constrained")
    left, right = figure.add_gridspec(1, 2, width_ratios=(1, 1.15))
    axes = figure.add_subplot(left)
    loss_axes(axes, rows, summary)
    axes.set_title(title)
    text = figure.add_subplot(right)
    text.axis("off")
    y = 1.0
    for label, sample in samples:
        body = _wrapped(sample, 82, max(3, 18 // max(1, len(samples))))
        text.text(0, y, label, fontsize=10, fontweight="bold", color=HELD_OUT, va="top", transform=text.transAxes)
        text.text(0, y - 0.045, body, fontsize=8, family="monospace", color=INK, va="top", transform=text.transAxes,
                  parse_math=False)
        y -= 0.085 + 0.0365 * (body.count("\n") + 1)
    return _save(figure, path)


def _wrapped(text, width, lines):
    """The text in lines of `width`; what a font cannot draw becomes a dot."""
    plain = "".join(c if c.isprintable() or c == "\n" else "·" for c in text.expandtabs(4))
    out = [piece for line in plain.strip("\n").split("\n") for piece in (textwrap.wrap(
        line, width, drop_whitespace=False, replace_whitespace=False) or [""])]
    return "\n".join(out[:lines])


def _save(figure, path):
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
