"""Runs intraop and its peers in turns on the same networks and inputs, and writes tables.

Every engine is a process of its own that loads a network once and computes when asked. Rounds go
A B C A B C ..., and whoever is not at work is stopped (SIGSTOP), so that no spinning thread of one
takes time from another and a slow spell of the machine meets all alike.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from statistics import median

import models
import nets
import report

HERE = Path(__file__).parent
WARM_UP = 3

# name: (program, kind of model, precision hint, what its output is compared with, and the
# difference that is accepted)
ENGINES = {
    "intraop-f32": ("intraop", "f32", None, "reference", 5e-4),
    "intraop-int8": ("intraop", "s8", None, "s8-reference", 0.02),
    "onnxruntime-f32": ("onnxruntime", "f32", None, "reference", 5e-4),
    "onnxruntime-s8": ("onnxruntime", "s8", None, "reference", 0.2),
    "onnxruntime-u8": ("onnxruntime", "u8", None, "reference", 0.2),
    "openvino-f32": ("openvino", "f32", "f32", "reference", 5e-4),
    "openvino-bf16": ("openvino", "f32", "bf16", "reference", 0.02),
    "openvino-int8": ("openvino", "nncf", None, "reference", 0.2),
}


class Server:
    """An engine's process, stopped but while it answers."""

    def __init__(self, engine, paths, threads, binaries, extra=()):
        program, kind, precision, reference, self.accepted = ENGINES[engine]
        self.reference = paths[reference]
        if program == "intraop":
            command = [str(binaries / "peer_server")]
        else:
            command = [sys.executable, str(HERE / "peer.py"), program]
        command += [paths[kind], paths["input"], "--threads", str(threads), *extra]
        if precision:
            command += ["--precision", precision]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.engine, self.threads, self.ns = engine, threads, []
        self.configuration = json.loads(self._answer().removeprefix("ready "))

    def _answer(self):
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.engine}, {self.threads} threads: ended without an answer")
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def ask(self, command):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def result(self):
        with tempfile.NamedTemporaryFile() as output:
            self.ask(f"output {output.name}")
            difference = models.difference(output.name, self.reference)
        return {
            "engine": self.engine, "threads": self.threads, "configuration": self.configuration,
            "median_ms": median(self.ns) / 1e6, "min_ms": min(self.ns) / 1e6, "ns": self.ns,
            "difference": difference, "agrees": difference <= self.accepted,
        }

    def close(self):
        self.process.kill()
        self.process.wait()


def compare(net, args):
    """Every engine at every number of threads in one series of rounds."""
    paths = models.prepare(net, {ENGINES[engine][1] for engine in args.engines})
    servers = []
    try:
        for threads in args.threads:
            for engine in args.engines:
                extra = ["--simd", args.simd] if args.simd and "intraop" in engine else []
                servers.append(Server(engine, paths, threads, args.binaries, extra))
        for turn in range(WARM_UP + args.rounds):
            for server in servers:
                ns = int(server.ask("run"))
                if turn >= WARM_UP:
                    server.ns.append(ns)
        return [server.result() for server in servers]
    finally:
        for server in servers:
            server.close()


def profile(net, args):
    """Prints where OpenVINO spends its time, layer by layer."""
    for engine in (e for e in args.engines if e.startswith("openvino")):
        paths = models.prepare(net, {ENGINES[engine][1]})
        for threads in args.threads:
            server = Server(engine, paths, threads, args.binaries, ["--profile"])
            try:
                for _ in range(WARM_UP):
                    server.ask("run")
                runs = []
                for _ in range(args.rounds):
                    server.ask("run")
                    runs.append(json.loads(server.ask("layers")))
            finally:
                server.close()
            print(report.layers(net, engine, threads, runs), flush=True)


def cpu():
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else os.uname().machine


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="+", choices=nets.NETS, default=list(nets.NETS))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20, help="after %d to warm up" % WARM_UP)
    parser.add_argument("--simd", help="intraop's vector instructions; its choice when absent")
    parser.add_argument("--profile", action="store_true", help="OpenVINO's layers instead")
    parser.add_argument("--out", type=Path, help="folder for peers.md and peers.json")
    parser.add_argument("--binaries", type=Path, required=True, help="folder of peer_server")
    args = parser.parse_args()

    if args.profile:
        for net in args.nets:
            profile(net, args)
        return
    result = {
        "date": date.today().isoformat(), "cpu": cpu(), "cores": os.cpu_count(),
        "rounds": args.rounds, "load_before": os.getloadavg()[0],
        "ceilings": json.loads(subprocess.check_output([args.binaries / "ceilings"])), "nets": {},
    }
    for net in args.nets:
        _, macs, parameters = nets.build(net)
        print(f"{net}: {macs / 1e9:.2f} GMAC, {parameters} parameters", flush=True)
        rows = compare(net, args)
        voxels = nets.voxels(net)
        result["nets"][net] = {
            "gmac": macs / 1e9, "parameters": parameters, "voxels": voxels, "rows": rows}
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / "peers.json").write_text(json.dumps(result))
            (args.out / "peers.md").write_text(report.markdown(result))
    print(report.markdown(result))
    wrong = [f"{net} {r['engine']}, {r['threads']} threads: {r['difference']:.1e}"
             for net, values in result["nets"].items() for r in values["rows"] if not r["agrees"]]
    if wrong:
        sys.exit("outputs differ by more than is accepted:\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
