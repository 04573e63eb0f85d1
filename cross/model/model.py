#!/usr/bin/env python3
"""model.py FOLDER: speed of `modeled_pipeline`, modeled for ARM, and for this machine beside what
was measured there. FOLDER holds, made by `cross/model/run`, of every CPU what the program printed
(NAME.lines) and how often qemu ran which instructions (NAME.counts), what it printed on this
machine (measured.lines), and ceilings.json.

Instructions that follow each other in memory and ran equally often are a stretch. llvm-mca gives
the cycles of a passage through it when passages follow each other: of a loop, its steady state. A
part of the program costs the sum over its stretches of passages × cycles, as if all data were in the
first cache. What memory takes is bytes ÷ bandwidth; the part takes the longer of both.

With --hot NAME NUMBER: the dearest stretches of a CPU's part, numbered as in the tables.
"""

import argparse
import collections
import json
import pathlib
import re
import statistics
import subprocess
import sys

LLVM = "-19"
LONGEST = 2000  # Instructions in a stretch.
PASSAGES = (20, 40)  # What the second run takes longer for is free of filling and draining.
COVERED = 0.995  # Of a part's instructions; the rest is taken to run at the same rate.
# LLVM 19 gives these loads a vector unit, too, which AMD's do without: as a plain load.
BROADCAST = re.compile(r"vp?broadcast(?:d|q|ss|sd)\t([^%]*\(.*\)), %(.mm)"), r"vmovdqu\t\1, %\2"
# qemu counts every byte that these move; they run as fast as memory, which is counted apart.
REPEATED = "\trep"
# What stands between instructions that are disassembled: no compiler writes it.
SENTINEL = {"x86_64": (b"\xcc", "int3"), "aarch64": (b"\x20\x00\x20\xd4", "brk\t#0x1")}
# Products of int8 that an instruction makes.
PRODUCTS = {"sdot": 16, "smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8, "vpmaddwd": 16}

Cpu = collections.namedtuple("Cpu", "name title arch model features cores gigahertz bandwidth")
ARM = [
    Cpu("cortex-a72", "4 × Cortex-A72, 1.5 GHz", "aarch64", "cortex-a72", "+neon", 4, 1.5, 4.0),
    Cpu("cortex-a76", "4 × Cortex-A76, 2.4 GHz", "aarch64", "neoverse-n1", "+neon,+dotprod", 4,
        2.4, 4.0),
]
X86 = Cpu("x86", "this machine, one thread, AVX2", "x86_64", "znver4",
          "+avx2,+fma,+bmi,+bmi2,+lzcnt,+sse4.2", 1, None, None)

Part = collections.namedtuple("Part", "line times instructions cycles products stretches")


def sections(path):
    """Of every section how often each instruction ran: {address: (bytes, times)}."""
    blocks, counts = {}, collections.Counter()
    for line in open(path):
        kind, _, rest = line.rstrip("\n").partition(" ")
        if kind == "block":
            number, address, *code = rest.split(" ")
            blocks[number] = (int(address, 16), [bytes.fromhex(c) for c in code])
        elif kind == "count":
            number, times = rest.split(" ")
            counts[number] += int(times)
        else:
            ran = {}
            for number, times in counts.items():
                address, code = blocks[number]
                for insn in code:
                    ran[address] = (insn, ran.get(address, (insn, 0))[1] + times)
                    address += len(insn)
            yield ran
            counts.clear()


class Stretch:
    """Instructions that follow each other in memory, and how often they are passed through."""

    def __init__(self, address, row, times):
        self.address, self.end = address, address + sum(map(len, row))
        self.row, self.times, self.instructions = row, times, len(row) * times

    def join(self, others, row):
        """With those that follow, as `row` for each of its passages."""
        self.row, self.end = row, others[-1].end
        self.instructions += sum(other.instructions for other in others)


def stretches(ran):
    """Short loops are joined with what is around them, for that overlaps."""
    found = []
    for address, (insn, times) in sorted(ran.items()):
        if found and found[-1].end == address and found[-1].times == times:
            found[-1].join([Stretch(address, [insn], times)], found[-1].row + [insn])
        else:
            found.append(Stretch(address, [insn], times))
    before = None
    while before != len(found):
        before, found = len(found), joined(found)
    return found


def joined(found):
    kept = []
    for stretch in found:
        kept.append(stretch)
        if len(kept) > 1 and follow(kept[-2:]) and kept[-1].times == kept[-2].times:
            row = kept[-2].row + kept[-1].row
            if len(row) <= LONGEST:
                last = kept.pop()
                kept[-1].join([last], row)
        elif len(kept) > 2 and follow(kept[-3:]) and kept[-1].times == kept[-3].times:
            before, loop, after = kept[-3:]
            row = before.row + loop.row * round(loop.times / before.times) + after.row
            if loop.times >= 1.5 * before.times and len(row) <= LONGEST:
                del kept[-2:]
                before.join([loop, after], row)
    return kept


def follow(some):
    return all(a.end == b.address for a, b in zip(some, some[1:]))


def tool(command, text):
    result = subprocess.run(command, input=text, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(command)}: {result.stderr[-2000:]}")
    return result.stdout


class Machine:
    """A CPU as llvm-mca knows it."""

    def __init__(self, cpu):
        self.cpu = cpu
        self.text, self.cycles = {}, {}

    def disassemble(self, insns):
        new = sorted(set(insns) - self.text.keys())
        if new:
            self.read(new)

    def read(self, new):
        code, name = SENTINEL[self.cpu.arch]
        lines = (" ".join(f"0x{b:02x}" for b in bytes) for insn in new for bytes in (insn, code))
        command = [f"llvm-mc{LLVM}", "--disassemble", f"-triple={self.cpu.arch}",
                   f"-mattr={self.cpu.features}"]
        text = tool(command, "\n".join(lines)).removeprefix("\t.text\n")
        parts = text.split(f"\t{name}\n")
        if len(parts) == len(new) + 1:  # Nothing follows the last sentinel.
            if self.cpu.arch == "x86_64":
                parts = [BROADCAST[0].sub(BROADCAST[1], part) for part in parts]
            self.text.update(zip(new, parts))
        elif len(new) > 1:
            self.read(new[:len(new) // 2])
            self.read(new[len(new) // 2:])
        else:  # The end of a page cut it in two.
            self.text[new[0]] = ""

    def time(self, rows):
        """Finds the cycles of a passage through each."""
        new = [row for row in rows if row not in self.cycles]
        self.disassemble(insn for row in new for insn in row)
        for row in [row for row in new if self.is_memory(row)]:
            self.cycles[row] = 0
            new.remove(row)
        for start in range(0, len(new), 100):
            group = new[start:start + 100]
            regions = "".join(f"# LLVM-MCA-BEGIN\n{''.join(self.text[i] for i in row)}"
                              "# LLVM-MCA-END\n" for row in group)
            few, many = (self.total(regions, passages) for passages in PASSAGES)
            assert len(few) == len(many) == len(group)
            for row, a, b in zip(group, few, many):
                self.cycles[row] = (b - a) / (PASSAGES[1] - PASSAGES[0])

    def is_memory(self, row):
        text = "".join(self.text[insn] for insn in row)
        return not text.strip() or text.startswith(REPEATED)

    def total(self, regions, passages):
        command = [f"llvm-mca{LLVM}", f"-mtriple={self.cpu.arch}", f"-mcpu={self.cpu.model}",
                   f"-mattr={self.cpu.features}", f"-iterations={passages}", "-json",
                   "-skip-unsupported-instructions=any"]
        regions = json.loads(tool(command, regions))["CodeRegions"]
        return [region["SummaryView"]["TotalCycles"] for region in regions]

    def part(self, line, times, ran):
        found = sorted(stretches(ran), key=lambda s: -s.instructions)
        instructions = sum(s.instructions for s in found)
        hot, covered = [], 0
        while covered < COVERED * instructions:
            hot.append(found[len(hot)])
            covered += hot[-1].instructions
        self.time({tuple(s.row) for s in hot})
        costs = [(self.cycles[tuple(s.row)] * s.instructions / len(s.row), s) for s in hot]
        cycles = sum(cost for cost, _ in costs) * instructions / max(covered, 1)
        products = sum(s.instructions / len(s.row) * self.products(s.row) for s in hot)
        return Part(line, times, instructions, cycles, products, costs)

    def products(self, row):
        return sum(PRODUCTS.get(self.text[insn].strip().partition("\t")[0], 0) for insn in row)

    def ms(self, part):
        """For arithmetic, for memory."""
        compute = part.cycles / self.cpu.cores / self.cpu.gigahertz / 1e6
        return compute, part.line["bytes"] / self.cpu.bandwidth / 1e6


def name(line):
    return f"{line['stage']}: {line['what']}" if line["stage"] != "network" else line["what"]


def parts(folder, machine):
    """What a registration is made of. Of the displacement networks, which are all alike, the first
    stands for all; a network's steps stand for its run, which is what they leave of it."""
    lines = [json.loads(line) for line in open(folder / f"{machine.cpu.name}.lines")]
    runs, steps, found, network = [], [], [], 0
    for line, ran in zip(lines, sections(folder / f"{machine.cpu.name}.counts"), strict=True):
        if line["what"] == "network":
            network += 1
        if line["what"] in ("start", "input", "network"):
            continue
        if line["stage"] == "infer":
            runs.append(machine.part(line, 1, ran))
        elif line["stage"] == "network":
            steps.append(machine.part(line, 1 if network == 1 else None, ran))
        else:
            found.append(machine.part(line, 1, ran))
    steps = [s if s.times else s._replace(times=len(runs) - 1) for s in steps]
    whole = sum(run.instructions for run in runs)
    told = sum(step.instructions * step.times for step in steps)
    print(f"{machine.cpu.name}: {whole / 1e9:.3f} G instructions in networks, of them in their "
          f"steps {told / whole:.1%}", file=sys.stderr)
    return found + steps


def table(machine, found):
    print(f"\n**{machine.cpu.title}**, {machine.cpu.bandwidth:g} GB/s\n")
    print("| | part | GMAC | products ÷ MAC | M instructions | M cycles | MAC ÷ cycle | compute, ms "
          "| memory, ms | ms |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    total, shown = [0, 0, 0, 0, 0], 0
    for number, part in enumerate(found):
        compute, memory = machine.ms(part)
        took = max(compute, memory)
        n, macs = part.times, part.line["macs"]
        values = [n * part.instructions / 1e6, n * part.cycles / 1e6, n * compute, n * memory,
                  n * took]
        total = [a + b for a, b in zip(total, values)]
        if values[-1] < 0.05:
            continue
        shown += values[-1]
        made = ["", "", ""] if not macs else [
            f"{n * macs / 1e9:.2f}", f"{part.products / macs:.2f}", f"{macs / part.cycles:.1f}"]
        print(f"| {number} | {f'{n} × ' if n > 1 else ''}{name(part.line)} | {made[0]} | {made[1]} "
              f"| {values[0]:.0f} | {values[1]:.0f} | {made[2]} | {values[2]:.1f} "
              f"| {values[3]:.1f} | {values[4]:.1f} |")
    print(f"| | all | | | {total[0]:.0f} | {total[1]:.0f} | | {total[2]:.1f} | {total[3]:.1f} "
          f"| **{total[4]:.0f}** |")


def compare(machine, found, measured):
    print(f"\n**{machine.cpu.title}**, {machine.cpu.gigahertz:.2f} GHz, "
          f"{machine.cpu.bandwidth:.0f} GB/s\n")
    print("| part | modeled, ms | measured, ms | ratio |\n|---|---:|---:|---:|")
    totals = [0, 0]
    for part in found:
        took, real = max(machine.ms(part)), measured(part.line)
        totals = [totals[0] + part.times * took, totals[1] + part.times * real]
        if real > 0.5:
            print(f"| {name(part.line)} | {took:.1f} | {real:.1f} | {took / real:.2f} |")
    print(f"| all, networks as often as they run | {totals[0]:.1f} | {totals[1]:.1f} "
          f"| {totals[0] / totals[1]:.2f} |")


def medians(path):
    """By part and which of its name it is, milliseconds; the first repetition only warms up."""
    runs, seen = collections.defaultdict(list), collections.Counter()
    for line in map(json.loads, open(path)):
        if line["what"] == "start":
            seen.clear()
        key = name(line)
        runs[key, seen[key]].append(line["ns"] / 1e6)
        seen[key] += 1
    return {key: statistics.median(ns[1:]) for key, ns in runs.items()}


def show(machine, part, most=8):
    for cycles, s in sorted(part.stretches, key=lambda s: -s[0])[:most]:
        print(f"-- {s.address:x}: {cycles / part.cycles:.1%} of the cycles, {s.times} passages of "
              f"{cycles / s.times:.1f} cycles, {s.instructions / s.times:.0f} instructions")
        print("".join(machine.text[insn] for insn in s.row[:200]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--hot", nargs=2, metavar=("NAME", "NUMBER"))
    arguments = parser.parse_args()
    ceilings = json.loads((arguments.folder / "ceilings.json").read_text())
    # Copying reads a byte and writes a byte.
    x86 = X86._replace(gigahertz=ceilings["gigahertz"],
                       bandwidth=2 * ceilings["copied_gb_per_s"]["256 MiB"])
    for cpu in [x86, *ARM]:
        machine = Machine(cpu)
        if arguments.hot and arguments.hot[0] != cpu.name:
            continue
        found = parts(arguments.folder, machine)
        if arguments.hot:
            show(machine, found[int(arguments.hot[1])])
        elif cpu == x86:
            measured, seen = medians(arguments.folder / "measured.lines"), collections.Counter()

            def of(line):
                key = (name(line), seen[name(line)])
                seen[name(line)] += 1
                return measured[key]

            compare(machine, found, of)
        else:
            table(machine, found)


main()
