"""One peer with one network: reads commands from stdin and answers on stdout, as peer_server does.

`ready` and the configuration come first. `run` computes once and answers in nanoseconds, from the
input in memory to the output in memory; `output PATH` writes the output as raw f32; `layers`
answers with the last run's layers; `quit` ends.
"""

import argparse
import json
import sys
import time

import numpy as np


class Onnxruntime:
    """Input and output are bound, so that nothing is allocated or copied outside the session."""

    def __init__(self, args):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(args.model, options, ["CPUExecutionProvider"])
        (first,), (last,) = self.session.get_inputs(), self.session.get_outputs()
        values = np.fromfile(args.input, np.float32).reshape(first.shape)
        self.output = np.empty(last.shape, np.float32)
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_input(
            first.name, onnxruntime.OrtValue.ortvalue_from_numpy(values))
        self.binding.bind_output(
            last.name, "cpu", 0, np.float32, self.output.shape, self.output.ctypes.data)
        self.configuration = {
            "version": onnxruntime.__version__,
            "intra_op_num_threads": options.intra_op_num_threads,
            "inter_op_num_threads": options.inter_op_num_threads,
            "execution_mode": str(options.execution_mode),
            "graph_optimization_level": str(options.graph_optimization_level),
            "io_binding": True,
        }

    def run(self):
        self.session.run_with_iobinding(self.binding)


class Openvino:
    """One infer request with input and output tensors of its own, which every run uses again."""

    def __init__(self, args):
        import openvino

        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": args.threads,
            "PERF_COUNT": args.profile,
        }
        if args.precision:
            settings["INFERENCE_PRECISION_HINT"] = args.precision
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(args.model), "CPU", settings)
        self.request = compiled.create_infer_request()
        first = openvino.Tensor(openvino.Type.f32, compiled.input(0).shape)
        first.data[:] = np.fromfile(args.input, np.float32).reshape(first.data.shape)
        self.request.set_input_tensor(first)
        last = openvino.Tensor(openvino.Type.f32, compiled.output(0).shape)
        self.request.set_output_tensor(last)
        self.output = last.data
        names = ["PERFORMANCE_HINT", "EXECUTION_MODE_HINT", "INFERENCE_PRECISION_HINT",
                 "NUM_STREAMS", "INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING"]
        self.configuration = {name: str(compiled.get_property(name)) for name in names}
        self.configuration["version"] = openvino.__version__

    def run(self):
        self.request.infer()

    def layers(self):
        """Milliseconds, kind, kernel and name of every layer that took time."""
        layers = [
            (layer.real_time.total_seconds() * 1e3, layer.node_type, layer.exec_type,
             layer.node_name)
            for layer in self.request.profiling_info
        ]
        return [layer for layer in layers if layer[0] > 0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=("onnxruntime", "openvino"))
    parser.add_argument("model")
    parser.add_argument("input", help="raw f32, little endian")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--precision", help="OpenVINO's hint; its choice when absent")
    parser.add_argument("--profile", action="store_true", help="measure layers (OpenVINO)")
    args = parser.parse_args()
    peer = {"onnxruntime": Onnxruntime, "openvino": Openvino}[args.engine](args)
    print("ready", json.dumps(peer.configuration), flush=True)
    for line in sys.stdin:
        command, _, path = line.strip().partition(" ")
        if command == "run":
            start = time.perf_counter_ns()
            peer.run()
            print(time.perf_counter_ns() - start, flush=True)
        elif command == "output":
            peer.output.tofile(path)
            print("written", flush=True)
        elif command == "layers":
            print(json.dumps(peer.layers()), flush=True)
        elif command == "quit":
            break
        else:
            sys.exit(f"expected run, output, layers or quit, found {command}")


if __name__ == "__main__":
    main()
