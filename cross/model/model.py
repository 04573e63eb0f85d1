"""Cycles of a program's parts by llvm-mca, weighted by how often qemu ran what.

Instructions that follow each other in memory and ran equally often are a stretch. llvm-mca gives
the cycles of one passage when passages follow each other: for a loop that is its steady state. A
part costs the sum of its stretches' passages × cycles, so nothing overlaps between stretches and
every datum is in the first cache; what memory costs beside that is counted in bytes.
"""

import collections
import json
import subprocess
import sys

LLVM = "-19"
import os
EXTRA = os.environ.get("EXTRA","").split()
PASSAGES = (20, 40)  # What the second run takes longer for is free of filling and draining.
LONGEST = 2000  # Instructions in a stretch.
COVERED = 0.995  # Of a part's instructions; the rest is taken to run at the same rate.
# qemu counts every byte that these move; they run as fast as memory, which is counted apart.
REPEATED = "\trep"
SENTINEL = {"x86_64": (b"\xcc", "int3"), "aarch64": (b"\x20\x00\x20\xd4", "brk\t#0x1")}

Part = collections.namedtuple("Part", "instructions cycles stretches products")


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
                    _, before = ran.get(address, (insn, 0))
                    ran[address] = (insn, before + times)
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
    """Instructions in a row that ran equally often; short loops with what is around them, for
    that overlaps."""
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
    """An instruction set and a model of llvm-mca's."""

    def __init__(self, arch, cpu, features):
        self.arch, self.cpu, self.features = arch, cpu, features
        self.text, self.cycles = {}, {}

    def disassemble(self, insns):
        new = sorted(set(insns) - self.text.keys())
        if new:
            self.read(new)

    def read(self, new):
        code, name = SENTINEL[self.arch]
        lines = (" ".join(f"0x{b:02x}" for b in bytes) for insn in new for bytes in (insn, code))
        command = [f"llvm-mc{LLVM}", "--disassemble", f"-triple={self.arch}",
                   f"-mattr={self.features}"]
        text = tool(command, "\n".join(lines)).removeprefix("\t.text\n")
        parts = text.split(f"\t{name}\n")
        if len(parts) == len(new) + 1:  # Nothing follows the last sentinel.
            self.text.update(zip(new, parts))
        elif len(new) > 1:
            self.read(new[:len(new) // 2])
            self.read(new[len(new) // 2:])
        else:  # The end of a page cut it in two.
            self.text[new[0]] = ""

    def time(self, rows):
        """Finds the cycles of one passage through each."""
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
        command = [f"llvm-mca{LLVM}", f"-mtriple={self.arch}", f"-mcpu={self.cpu}",
                   f"-mattr={self.features}", f"-iterations={passages}", "-json", *EXTRA,
                   "-skip-unsupported-instructions=any"]
        answer = json.loads(tool(command, regions))
        return [r["SummaryView"]["BlockRThroughput"]*passages if os.environ.get("RT") else r["SummaryView"]["TotalCycles"] for r in answer["CodeRegions"]]

    def part(self, ran):
        found = sorted(stretches(ran), key=lambda s: -s.instructions)
        instructions = sum(s.instructions for s in found)
        hot, covered = [], 0
        while covered < COVERED * instructions:
            hot.append(found[len(hot)])
            covered += hot[-1].instructions
        self.time({tuple(s.row) for s in hot})
        cost = lambda s: self.cycles[tuple(s.row)] * s.instructions / len(s.row)
        cycles = sum(map(cost, hot))
        return Part(instructions, cycles * instructions / max(covered, 1),
                    [(cost(s), s) for s in hot], None)


def show(machine, part, most=12):
    """The dearest stretches, for those who want to make them cheaper."""
    for cycles, s in sorted(part.stretches, key=lambda s: -s[0])[:most]:
        print(f"-- {s.address:x}: {cycles / part.cycles:.1%} of the cycles, {s.times} times "
              f"{cycles / s.times:.1f} cycles, {s.instructions / s.times:.0f} instructions")
        print("".join(machine.text[insn] for insn in s.row))
