"""A plan in words: Markdown tables, and what would make one fit that does not."""

import math

from lmlab.train import sharding


def size(n) -> str:
    """Bytes in words: "1.5 GiB"."""
    power = min(int(math.log2(max(n, 1))) // 10, 4)
    return f"{n / 2 ** (10 * power):,.4g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def layout(mesh) -> str:
    """A mesh in words: "fsdp 16 × tensor 4"."""
    return " × ".join(f"{name} {n}" for name, n in mesh.items() if n > 1) or "one device"


def table(plan) -> str:
    """The whole plan; lines that begin with "warning:" are for whatever looks wrong."""
    work = plan.work
    taught = f" (and {plan.teacher_parameters:,} of a teacher)" if plan.teacher_parameters else ""
    parts = [f"{plan.parameters:,} parameters{taught} on {plan.topology} ({layout(plan.mesh)}), {work.rows:,} rows of "
             f"{work.length:,} tokens a step, remat {work.spec.remat}, attention {work.spec.attention}", _memory(plan)]
    if not plan.fits:
        return "\n\n".join(parts)
    parts.append(_network(plan))
    if plan.unread:
        parts.append(f"the compiled program's collectives could not be read ({plan.unread}): the times below stand on "
                     "those that the layout needs, and on the state's traffic alone")
    if plan.excess > 1.1:
        parts.append(f"warning: the program sends {plan.excess - 1:.0%} more than its layout needs: something is on "
                     "every device that should be split, or a gradient is summed whole and then cut")
    return "\n\n".join(parts + ([_time(plan)] if plan.seconds else []))


def _memory(plan):
    state = plan.parameter_bytes + plan.optimizer_bytes + plan.batch_bytes + plan.teacher_bytes
    rest = plan.temporary_bytes if plan.fits else plan.needed - state
    whole = f"of {size(plan.capacity)}: {'fits' if plan.fits else 'does not fit'}" if plan.capacity else "of the host's"
    rows = [("parameters", size(plan.parameter_bytes)), ("optimizer", size(plan.optimizer_bytes)),
            ("batch", size(plan.batch_bytes)), *([("teacher", size(plan.teacher_bytes))] if plan.teacher_bytes else []),
            ("activations, gradients, temporaries", size(rest)), ("in all", f"{size(plan.needed)} {whole}")]
    if plan.fits:
        rows.append(("arguments: compiled / by arithmetic", f"{plan.argument_bytes / state:.4f}"))
    return _markdown(("memory of a device", ""), rows)


def _network(plan):
    rows = [(f"{c.kind} over {c.group}", f"{c.count:,}", size(c.result), size(c.sent)) for c in plan.collectives
            if c.sent >= 2 ** 20 or c.sent * 100 >= sum(o.sent for o in plan.collectives)]
    rows += [(f"needed for {e.what}: {e.collective.kind} over {e.collective.group}", f"{e.collective.count:,}",
              size(e.collective.result), size(e.collective.sent)) for e in plan.expected]
    if plan.excess:
        rows.append(("sent / needed", "", "", f"{plan.excess:.3f}"))
    return _markdown(("between devices, a step", "times", "results", "sent by each"), rows)


def _time(plan):
    bounds = ", ".join(f"{name} {s:.4g} s" for name, s in plan.seconds.items())
    rows = [("operations of a device, counted once", f"{plan.flops:.4g}"), ("a step takes at least", bounds),
            ("bound by", plan.bound), ("MFU at most", f"{plan.mfu:.0%}"),
            ("tokens a day at most", f"{plan.tokens_per_day:.4g}"), ("compiled in", f"{plan.compile_seconds:.0f} s")]
    return _markdown(("time: a bound, not a measurement", ""), rows)


def remedy(plan) -> str:
    """What would make a plan fit that does not, in one sentence with numbers."""
    work = plan.work
    state = plan.parameter_bytes * 2 + plan.optimizer_bytes + plan.batch_bytes + plan.teacher_bytes
    said = f"it does not fit: {size(plan.needed)} of {size(plan.capacity)} a device; "
    split = math.prod(plan.mesh.values()) // sharding.ways(plan.mesh) * plan.mesh["fsdp"]
    if state >= plan.capacity:
        least = math.ceil(split * state / plan.capacity)
        return said + (f"parameters, gradients and optimizer alone take {size(state)}: split them over more than "
                       f"{least} devices, config.mesh.fsdp times config.mesh.tensor is {split}")
    rows = work.rows // (sharding.ways(plan.mesh) * work.accumulation)
    room = int(rows * (plan.capacity - state) / (plan.needed - state))
    if room:
        pieces = next(n for n in range(1, rows + 1) if rows % n == 0 and rows // n <= room)
        return said + (f"by arithmetic {room} of the {rows} rows a device would fit: config.train.batch="
                       f"{room * sharding.ways(plan.mesh) * work.accumulation} or config.train.accumulation="
                       f"{pieces * work.accumulation}")
    more = "" if work.spec.remat == "full" else "config.model.remat=full, "
    return said + f"not one row a device would: try {more}a larger config.mesh.tensor or a smaller config.train.length"


def tried(results) -> str:
    """What a search tried and found, and the flags of the best. results: [(search.Candidate, Plan)]."""
    rows = [(layout({"data": c.values["mesh.data"], "fsdp": c.values["mesh.fsdp"], "tensor": c.values["mesh.tensor"]}),
             c.values["model.remat"], f"{c.values['train.batch']:,}", size(p.needed), *(
                 ("yes", p.bound, f"{p.mfu:.0%}", f"{p.tokens_per_day:.4g}") if p.fits else ("no", "", "", "")))
            for c, p in results]
    words = _markdown(("mesh", "remat", "batch", "memory", "fits", "bound", "MFU at most", "tokens a day"), rows)
    best = max((r for r in results if r[1].fits), key=lambda r: r[1].tokens_per_day, default=None)
    return f"{words}\n\n" + (f"the best that fits: {best[0].flags}" if best else f"none fits: {remedy(results[-1][1])}")


def _markdown(head, rows):
    line = lambda cells: f"| {' | '.join(cells)} |"
    return "\n".join([line(head), line(["---"] + ["---:"] * (len(head) - 1)), *map(line, rows)])
