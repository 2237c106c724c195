"""What a compiled program moves, read from its text: between devices by kind of collective, and to and from memory.

The text is XLA's HLO. What stands in the body of a loop counts as often as the loop runs: up to the one constant
that its condition compares the counter with, in the steps that its body adds.
"""

import math
import re
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_SIZES = {"pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "f8e4m3fn": 1, "f8e5m2": 1, "s16": 2, "u16": 2, "bf16": 2,
          "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^ *(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"\b(" + "|".join(_SIZES) + r")\[([\d,]*)\]")
_RUNS = re.compile(r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_GROUP = re.compile(r"replica_groups=(?:\{\{([\d,]*)\}|\[\d+,(\d+)\]|mesh\[([^\]]*)\][^{]*\{([^}]*)\})")
_FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all",
         "partition-id", "replica-id", "iota")
_IDENTITY = re.compile(r"channel_id=\d+|replica_groups=\S+|source_target_pairs=\S+|op_name=\"[^\"]*\"")
_SLICES = ("dynamic-slice", "slice", "gather")


class Collective(NamedTuple):
    """One kind of collective over groups of one size."""
    kind: str
    group: int      # devices that take part in each
    count: int      # times a step
    result: float   # bytes of all results on a device, all times together

    @property
    def sent(self) -> float:
        """Bytes that a device sends, by the ring: a gather or scatter passes on all but its own, a reduction twice."""
        share = (self.group - 1) / self.group
        return self.result * {"all-gather": share, "all-reduce": 2 * share, "reduce-scatter": self.group - 1,
                              "all-to-all": share, "collective-permute": 1.0}[self.kind]


class Instruction(NamedTuple):
    """A line of a computation."""
    name: str
    shape: str
    kind: str
    rest: str   # operands and attributes

    @property
    def bytes(self) -> float:
        """Of the result, as far as it lies in memory: space S(1) is on the chip."""
        return _bytes(re.sub(r"\w+\[[\d,]*\]\{[^}]*S\(1\)[^}]*\}", "", self.shape))

    @property
    def operands(self) -> list:
        """Their names."""
        return re.findall(r"%([\w.\-]+)", self.rest.split("), ")[0])

    @property
    def runs(self) -> list:
        """[(computation that it runs, (condition, body) of the loop or None)]."""
        loop = [re.search(rf"{part}=%?([\w.\-]+)", self.rest) for part in ("condition", "body")]
        branches = [name.strip(" %") for found in _BRANCHES.findall(self.rest) for name in found.split(",")]
        loop = (loop[0][1], loop[1][1]) if all(loop) else None
        return [(name, loop) for name in _RUNS.findall(self.rest)] + [(name, None) for name in branches]


class Program:
    """A program's computations, and how often each runs."""

    def __init__(self, text):
        self.computations, self.times, entry = {}, {}, None
        name = None
        for line in text.splitlines():
            if head := _HEAD.match(line):
                name = head[2]
                entry = name if head[1] else entry
                self.computations[name] = []
            elif name and (found := _INSTRUCTION.match(line)):
                self.computations[name].append(Instruction(*found.groups()))
        self._visit(entry, 1)

    def _visit(self, name, count):
        self.times[name] = self.times.get(name, 0) + count
        for instruction in self.computations[name]:
            for other, loop in instruction.runs:
                self._visit(other, count * (self._trips(*loop) if loop else 1))

    def _constants(self, name):
        """{name: value} of the whole numbers among a computation's constants."""
        return {i.name: int(i.rest.split(")")[0]) for i in self.computations[name]
                if i.kind == "constant" and re.match(r"[su]\d+\[\]", i.shape)}

    def _trips(self, condition, body):
        """How often a loop runs that counts from 0 to the constant of its condition; 1 where that has none."""
        limit = max([1, *self._constants(condition).values()])
        compared = [o for i in self.computations[condition] if i.kind == "compare" for o in i.operands]
        counter = next((found for i in self.computations[condition] if i.name in compared
                        for found in [re.search(r"index=(\d+)", i.rest)] if found), None)
        result = [i for i in self.computations[body] if i.kind == "tuple"][-1:]
        if counter is None or not result or len(result[0].operands) <= int(counter[1]):
            return limit
        constants, added = self._constants(body), result[0].operands[int(counter[1])]
        steps = [constants[o] for i in self.computations[body] if i.name == added and i.kind == "add"
                 for o in i.operands if o in constants]
        return -(-limit // max([1, *steps]))

    def collectives(self) -> list[Collective]:
        """The collectives, by kind and size of group."""
        found, seen = {}, {}
        for name, count in self.times.items():
            for i in self.computations[name]:
                kind = i.kind.removesuffix("-start")
                # One that runs beside other work has a part in several computations, alike but for their operands.
                if kind in KINDS and seen.setdefault(tuple(_IDENTITY.findall(i.rest)), name) == name:
                    group, part = _group(i.rest), 1
                    if name.startswith("all-reduce-scatter"):  # so a TPU writes one: each sums and keeps its slice
                        kind, part = "reduce-scatter", group
                    times, size = found.get((kind, group), (0, 0.0))
                    found[kind, group] = times + count, size + count * _results(i) / part
        return [Collective(*key, *values) for key, values in sorted(found.items())]

    def moved(self) -> float:
        """Bytes that instructions read from memory and write to it. A fused group counts for its operands and results;
        of what it only takes a slice of, or writes one into, the slice counts."""
        fused = {other for lines in self.computations.values() for i in lines if i.kind == "fusion"
                 for other, _ in i.runs}
        applied = {other for lines in self.computations.values() for i in lines for other in
                   re.findall(r"to_apply=%?([\w.\-]+)", i.rest)}
        total = 0.0
        for name, count in self.times.items():
            if name not in fused and name not in applied:
                sizes = {i.name: i.bytes for i in self.computations[name]}
                total += count * sum(self._moved(i, [sizes.get(o, 0.0) for o in i.operands])
                                     for i in self.computations[name] if i.kind not in _FREE)
        return total

    def _moved(self, instruction, sizes):
        """Of one instruction, given the bytes of its operands."""
        if instruction.kind in _SLICES:
            return 2 * instruction.bytes
        if instruction.kind == "dynamic-update-slice":
            return 2 * sizes[1]
        if instruction.kind != "fusion":
            return instruction.bytes + sum(sizes)
        inside = self.computations[instruction.runs[0][0]]
        size = {i.name: i.bytes for i in inside}
        written, result = {}, instruction.bytes
        for i in inside:
            if i.kind == "dynamic-update-slice":
                written[i.operands[0]] = size[i.operands[1]]
                result += size[i.operands[1]] - i.bytes
        total = max(result, 0.0)
        for i in inside:
            if i.kind == "parameter" and (number := int(i.rest.split(")")[0])) < len(sizes):
                users = [u for u in inside if i.name in u.operands]
                sliced = sum(u.bytes if u.kind in _SLICES else written.get(i.name, 0.0) for u in users)
                whole = any(u.kind not in _SLICES and not (u.kind == "dynamic-update-slice" and
                                                           u.operands[0] == i.name) for u in users)
                total += sizes[number] if whole else min(sliced, sizes[number])
        return total


def _bytes(shape):
    return sum(_SIZES[kind] * math.prod(map(int, filter(None, dims.split(",")))) for kind, dims in
               _ARRAY.findall(re.sub(r"\{[^}]*\}", "", shape)))


def _results(instruction):
    """Bytes of the results: an asynchronous collective gives its operands first, then its results, then counters."""
    if not instruction.kind.endswith("-start") or instruction.kind == "all-reduce-start":
        return _bytes(instruction.shape)
    sizes = [_bytes(f"{kind}[{dims}]") for kind, dims in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", instruction.shape))
             if kind != "u32"]
    return sum(sizes[len(sizes) // 2:])


def _group(text):
    """Devices a group; of a permutation two."""
    found = _GROUP.search(text)
    if not found:
        return 2
    if found[3] is not None:  # the axes of a mesh, 'axis_0'=8,'axis_1'=2, and which of them
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[3]))
        return math.prod(int(sizes[name]) for name in re.findall(r"'(\w+)'", found[4]))
    return len(found[1].split(",")) if found[1] is not None else int(found[2])
