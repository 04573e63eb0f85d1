"""Writes the networks of nets.py as ONNX, by both of PyTorch's exporters: export.py FOLDER.

Run by hand, in an environment with this folder's requirements.txt. `FOREIGN=FOLDER
tests/interop/run -k exported` then imports each of them and compares with onnxruntime."""

import pathlib
import sys

import torch

from nets import networks


def settle(net):
    """Statistics and weights as of a trained network: seeded, no output of one value."""
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.7, 1.3)
            module.bias.data.uniform_(-0.1, 0.1)
    return net.eval()


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    for name, (net, inputs, outputs, free) in networks().items():
        net = settle(net)
        example = tuple(torch.rand(shape) for shape in inputs.values())
        names = {"input_names": list(inputs), "output_names": outputs}
        axes = {"dynamic_axes": {i: free for i in inputs}} if free else {}
        try:
            torch.onnx.export(
                net, example, folder / f"{name}_legacy.onnx", opset_version=17, dynamo=False,
                **names, **axes)
        except torch.onnx.errors.OnnxExporterError as e:
            print(f"{name}: the older exporter has no {e}")
        torch.onnx.export(net, example, folder / f"{name}_dynamo.onnx", dynamo=True, **names)
        if free:
            shapes = [{a: torch.export.Dim.DYNAMIC for a in free}] * len(inputs)
            torch.onnx.export(
                net, example, folder / f"{name}_dynamic.onnx", dynamo=True,
                dynamic_shapes=tuple(shapes), **names)
    half = settle(networks()["fpn"][0]).half()
    torch.onnx.export(
        half, (torch.rand(1, 1, 96, 128).half(),), folder / "fpn_half.onnx", opset_version=17,
        dynamo=False, input_names=["image"], output_names=["heatmaps"])


main(pathlib.Path(sys.argv[1]))
