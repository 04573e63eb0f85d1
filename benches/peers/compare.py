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
import package
import report

HERE = Path(__file__).parent
WARM_UP = 3

# name: (program, kind of model, precision hint, the difference from f32 that is accepted)
ENGINES = {
    "intraop-f32": ("intraop", "f32", None, 5e-4),
    "intraop-int8": ("intraop", "own", None, 0.2),
    "onnxruntime-f32": ("onnxruntime", "f32", None, 5e-4),
    "onnxruntime-s8": ("onnxruntime", "s8", None, 0.2),
    "onnxruntime-u8": ("onnxruntime", "u8", None, 0.2),
    "openvino-f32": ("openvino", "f32", "f32", 5e-4),
    "openvino-bf16": ("openvino", "f32", "bf16", 0.02),
    "openvino-int8": ("openvino", "nncf", None, 0.2),
}
# Whole registrations, measured beside the network that their three stages are: a kind of package.
PIPELINES = {"intraop-register": "int8", "intraop-register-f32": "f32"}
PIPELINE_NET = "ldr-text-128"


class Server:
    """An engine's process, stopped but while it answers."""

    def __init__(self, engine, command, threads, extra=()):
        self.process = subprocess.Popen(
            [*command, "--threads", str(threads), *extra], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
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

    def run(self):
        self.ns.append(int(self.ask("run")))

    def forget(self):
        """What was measured so far was to warm up."""
        self.ns.clear()

    def result(self):
        return {
            "engine": self.engine, "threads": self.threads, "configuration": self.configuration,
            "median_ms": median(self.ns) / 1e6, "min_ms": min(self.ns) / 1e6, "ns": self.ns,
        }

    def close(self):
        self.process.kill()
        self.process.wait()


class Peer(Server):
    """One forward pass of a network."""

    def __init__(self, engine, paths, threads, binaries, extra=()):
        program, kind, precision, accepted = ENGINES[engine]
        # By what the output is compared with: the file, and the difference that is accepted.
        self.checks = {"f32": (paths["reference"], accepted)}
        if kind == "own":
            # Both engines' rounding spreads, as the nudge does.
            nudged = models.difference(paths["own-nudged"], paths["own-reference"])
            self.checks["same file"] = (paths["own-reference"], max(0.02, 1.5 * nudged))
        if program == "intraop":
            command = [binaries / "peer_server"]
        else:
            command = [sys.executable, HERE / "peer.py", program]
        if precision:
            extra = [*extra, "--precision", precision]
        super().__init__(engine, [*command, paths[kind], paths["input"]], threads, extra)

    def result(self):
        with tempfile.NamedTemporaryFile() as output:
            self.ask(f"output {output.name}")
            checks = {what: (models.difference(output.name, reference), accepted)
                      for what, (reference, accepted) in self.checks.items()}
        return super().result() | {"checks": checks}


class Pipeline(Server):
    """A whole registration, by stages. It proves itself by the package's golden case."""

    def __init__(self, engine, paths, threads, binaries, extra=()):
        model = paths[PIPELINES[engine]]
        self.stages = []
        self.peak_mib = peak_memory(model, paths["phantoms"], threads, binaries, extra)
        super().__init__(engine, [binaries / "pipeline_server", model], threads, extra)

    def run(self):
        super().run()
        self.stages.append(json.loads(self.ask("stages")))

    def forget(self):
        super().forget()
        self.stages.clear()

    def result(self):
        stages = {name: median(run[name] for run in self.stages) for name in self.stages[0]}
        return super().result() | {"stages_ms": stages, "peak_mib": self.peak_mib}


def peak_memory(model, phantoms, threads, binaries, extra):
    """Of `intraop register`, from files to files, without and with labels."""
    files = {name: phantoms / f"{name}.nii.gz"
             for name in ("fixed", "moving", "fixed_labels", "moving_labels")}
    labels = ["--fixed-labels", files["fixed_labels"], "--moving-labels", files["moving_labels"]]
    peaks = []
    for more in ([], labels):
        with tempfile.TemporaryDirectory() as out:
            report = subprocess.check_output(
                [binaries / "intraop", "register", files["fixed"], files["moving"], *more,
                 "--model", model, "--out", out, "--threads", str(threads), *extra, "--json"],
                stderr=subprocess.DEVNULL)
        peaks.append(json.loads(report)["peak_rss_mib"])
    return peaks


def prepare(net, args):
    """What runs beside a network: (class, engines, paths of their files)."""
    peers = [engine for engine in args.engines if engine in ENGINES]
    wanted = {ENGINES[engine][1] for engine in peers}
    kinds = [(Peer, peers, models.prepare(net, wanted, args.binaries))]
    pipelines = [engine for engine in args.engines if engine in PIPELINES]
    if pipelines and net == PIPELINE_NET:
        paths = package.prepare(args.binaries, models.own_folder())
        kinds.append((Pipeline, pipelines, paths))
    return kinds


def compare(net, args):
    """Every engine at every number of threads in one series of rounds."""
    kinds = prepare(net, args)
    servers = []
    try:
        for threads in args.threads:
            for kind, engines, paths in kinds:
                for engine in engines:
                    extra = ["--simd", args.simd] if args.simd and "intraop" in engine else []
                    servers.append(kind(engine, paths, threads, args.binaries, extra))
        for turn in range(WARM_UP + args.rounds):
            for server in servers:
                if turn == WARM_UP:
                    server.forget()
                server.run()
        return [server.result() for server in servers]
    finally:
        for server in servers:
            server.close()


def profile(net, args):
    """Prints where intraop and OpenVINO spend their time, layer by layer."""
    known = ("openvino", "intraop-f32", "intraop-int8")
    for engine in (e for e in args.engines if e.startswith(known)):
        paths = models.prepare(net, {ENGINES[engine][1]}, args.binaries)
        for threads in args.threads:
            extra = ["--profile"] if engine.startswith("openvino") else []
            server = Peer(engine, paths, threads, args.binaries, extra)
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
    engines = [*ENGINES, *PIPELINES]
    parser.add_argument("--engines", nargs="+", choices=engines, default=engines)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20, help="after %d to warm up" % WARM_UP)
    parser.add_argument("--simd", help="intraop's vector instructions; its choice when absent")
    parser.add_argument("--prepare", action="store_true", help="only make all files that are needed")
    parser.add_argument("--profile", action="store_true", help="layers of intraop and OpenVINO instead")
    parser.add_argument("--out", type=Path, help="folder for peers.md and peers.json")
    parser.add_argument("--binaries", type=Path, required=True, help="folder of the programs")
    args = parser.parse_args()

    if args.prepare:
        for net in args.nets:
            prepare(net, args)
        return
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
    wrong = [f"{net} {r['engine']}, {r['threads']} threads: {report.differences(r)}"
             for net, values in result["nets"].items() for r in values["rows"]
             if not report.agrees(r)]
    if wrong:
        sys.exit("outputs differ by more than is accepted:\n" + "\n".join(wrong))


if __name__ == "__main__":
    main()
