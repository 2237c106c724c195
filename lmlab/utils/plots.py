"""Pictures of a run: loss, learning rate, throughput, and one page that tells its story."""

import functools
import math
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first: no screen is needed)
from matplotlib import font_manager  # noqa: E402

PAGE_LINES = 36  # of 8-point text beside the curve
INK, TRAIN, HELD_OUT = "#333333", "#9ecae1", "#08519c"
UNIGRAM = ("unigram", "#7f7f7f")
# What the curves stand beside: in bits per byte where a whole text is scored, else in nats a target.
BITS = {"unigram_bits_per_byte": UNIGRAM, "lzma_bits_per_byte": ("lzma", "#d95f02"),
        "lzma_primed_bits_per_byte": ("lzma primed with the training text", "#7570b3")}
NATS = {"unigram_loss": UNIGRAM}
# Fonts with Chinese, Japanese or Korean on Linux, macOS and Windows, for samples in those scripts.
CJK = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC",
       "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "Arial Unicode MS")


def series(rows, name):
    """(steps, values) of the rows that have a finite `name`."""
    found = [(r["step"], r[name]) for r in rows if r.get(name) is not None and math.isfinite(r[name])]
    return [s for s, _ in found], [v for _, v in found]


def draw_run(folder, rows, summary, samples=(), title=""):
    """Draws plots/loss.png, rate.png, throughput.png and story.png in a run folder; returns their paths.

    Args:
      rows: of metrics.jsonl. summary: the baselines, `tokens_per_byte` of the held-out text.
      samples: [(label, text)] for the story.
    """
    folder = Path(folder) / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    title = _drawable(title)
    return [_curve(folder / "rate.png", rows, "rate", "learning rate", title),
            _curve(folder / "throughput.png", rows, "tokens_per_second", "tokens per second", title),
            _loss(folder / "loss.png", rows, summary, title),
            _story(folder / "story.png", rows, summary, samples, title)]


def _curve(path, rows, name, label, title):
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(*series(rows, name), color=HELD_OUT)
    axes.set(xlabel="step", ylabel=label)
    axes.set_title(title, parse_math=False, family=["DejaVu Sans", *_fonts()[1:]])
    axes.set_ylim(bottom=0)
    return _save(figure, path)


def _loss(path, rows, summary, title):
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    loss_axes(axes, rows, summary)
    axes.set_title(title, parse_math=False, family=["DejaVu Sans", *_fonts()[1:]])
    return _save(figure, path)


def loss_axes(axes, rows, summary):
    """Bits per byte (or nats a target, where no whole text is scored) over steps: training, held out, and the
    baselines as lines.

    The training loss, in nats a token, is drawn in bits per byte by the held-out text's tokens a byte.
    """
    whole = any("val_bits_per_byte" in r for r in rows)
    known, scale = (BITS, summary["tokens_per_byte"] / 0.6931471805599453) if whole else (NATS, 1.0)
    steps, losses = series(rows, "loss")
    axes.plot(steps, [x * scale for x in losses], color=TRAIN, label="training")
    held_steps, held = series(rows, "val_bits_per_byte" if whole else "val_loss")
    axes.plot(held_steps, held, "o-", color=HELD_OUT, label="held out")
    lines = {name: summary[name] for name in known if summary.get(name) is not None}
    for name, value in lines.items():
        axes.axhline(value, color=known[name][1], linestyle="--", linewidth=1.2, label=f"{known[name][0]}: {value:.2f}")
    # From the start of the held-out curve (or the unigram) downwards: the first losses of a batch may be far above.
    shown = [x * scale for x in losses] + held + list(lines.values())
    top = max([*held[:1], *(lines[name] for name in lines if name.startswith("unigram"))], default=0) or max(
        shown, default=0)
    if top > 0:
        axes.set_ylim(0.9 * min(shown), 1.15 * top)
    axes.set(xlabel="step", ylabel="bits per byte" if whole else "nats a target")
    if held:
        axes.annotate(f"{held[-1]:.2f}", (held_steps[-1], held[-1]), textcoords="offset points", xytext=(6, -3),
                      ha="left", color=HELD_OUT, fontweight="bold")
    axes.legend(frameon=False, fontsize=9)


@functools.cache
def _fonts():
    """Families for text that may be Chinese: the plain one, then those installed of CJK."""
    installed = set(font_manager.get_font_names())
    return ["DejaVu Sans Mono", *(name for name in CJK if name in installed)]


@functools.cache
def _characters():
    """The code points that those fonts draw."""
    files = [font_manager.findfont(name) for name in _fonts()]
    return frozenset().union(*(font_manager.get_font(file).get_charmap() for file in files))


def _drawable(text):
    """The text on one line or more; what no font draws becomes a dot."""
    return "".join(c if c == "\n" or c.isprintable() and ord(c) in _characters() else "·" for c in text)


def _story(path, rows, summary, samples, title):
    figure = plt.figure(figsize=(12.6, 5.4), layout="constrained")
    left, right = figure.add_gridspec(1, 2, width_ratios=(1, 1.1))
    axes = figure.add_subplot(left)
    loss_axes(axes, rows, summary)
    axes.set_title(title, parse_math=False, family=["DejaVu Sans", *_fonts()[1:]])
    text = figure.add_subplot(right)
    text.axis("off")
    each = max(3, (PAGE_LINES - 2 * len(samples)) // max(1, len(samples)))
    line = 1.0 / PAGE_LINES
    y = 1.0
    for label, sample in samples:
        body = _wrapped(sample, 86, each)
        write = lambda at, words, **style: text.text(0, at, words, va="top", transform=text.transAxes,
                                                     parse_math=False, **style)
        write(y, label, fontsize=10, fontweight="bold", color=HELD_OUT)
        write(y - 1.4 * line, body, fontsize=8, family=_fonts(), color=INK, linespacing=1.15)
        y -= (each + 2) * line
    return _save(figure, path)


def _wrapped(text, width, lines):
    """The text in lines of `width`."""
    plain = _drawable(text.expandtabs(4))
    out = [piece for line in plain.strip("\n").split("\n") for piece in (textwrap.wrap(
        line, width, drop_whitespace=False, replace_whitespace=False) or [""])]
    return "\n".join(out[:lines])


def _save(figure, path):
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def confusion(path, counts_CC, labels):
    """Writes how often each label (a row) was taken for each (a column), as shares of the row; returns the path."""
    shares = counts_CC / counts_CC.sum(1, keepdims=True).clip(1)
    size = 2.5 + 0.45 * len(labels)
    figure, axes = plt.subplots(figsize=(size, size), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="said", ylabel="is")
    for row, column in zip(*counts_CC.nonzero()):
        axes.text(column, row, f"{counts_CC[row, column]:,}", ha="center", va="center", fontsize=8,
                  color="white" if shares[row, column] > 0.5 else INK)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return Path(path)
