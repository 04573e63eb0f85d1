"""Networks as other people publish them, in PyTorch: what `intraop models import` is tried on.
Seeded random weights."""

import torch
from torch import nn
from torch.nn import functional as F


def block(inputs, outputs, stride=1):
    """VoxelMorph's ConvBlock."""
    return nn.Sequential(nn.Conv3d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(0.2))


class SpatialTransformer(nn.Module):
    """VoxelMorph's: warps by a displacement in voxels, channels z, y, x."""

    def __init__(self, size):
        super().__init__()
        axes = [torch.arange(0, n) for n in size]
        grid = torch.stack(torch.meshgrid(axes, indexing="ij"))[None].float()
        self.register_buffer("grid", grid)

    def forward(self, image, flow):
        places = self.grid + flow
        shape = flow.shape[2:]
        scaled = [2 * (places[:, i] / (shape[i] - 1) - 0.5) for i in range(3)]
        places = torch.stack(scaled, dim=-1)[..., [2, 1, 0]]
        return F.grid_sample(image, places, align_corners=True, mode="bilinear")


class VoxelMorph(nn.Module):
    """The U-Net of VoxelMorph (Balakrishnan et al. 2019), two inputs, flow in voxels. With
    `integrate` also what its package exports: scaling and squaring at half size, and the moved
    image."""

    def __init__(self, size=(32, 32, 32), integrate=False):
        super().__init__()
        self.down = nn.ModuleList([block(2, 8), block(8, 16), block(16, 16), block(16, 16)])
        self.pool = nn.MaxPool3d(2)
        self.up = nn.ModuleList([block(16, 16), block(32, 16), block(32, 16)])
        self.rest = nn.Sequential(block(24, 16), block(16, 8))
        self.flow = nn.Conv3d(8, 3, 3, padding=1)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.integrate = integrate
        if integrate:
            self.small = SpatialTransformer([n // 2 for n in size])
            self.large = SpatialTransformer(size)

    def forward(self, source, target):
        x, skips = torch.cat([source, target], dim=1), []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
            x = self.pool(x)
        x = self.up[0](x)
        for layer, skip in zip(self.up[1:], reversed(skips[2:])):
            x = layer(torch.cat([self.upsample(x), skip], dim=1))
        x = self.upsample(x)
        x = torch.cat([self.upsample(torch.cat([x, skips[1]], 1)[:, :16]), skips[0]], dim=1)
        flow = 4 * self.flow(self.rest(x))
        if not self.integrate:
            return flow
        flow = F.interpolate(flow * 0.5, scale_factor=0.5, mode="trilinear", align_corners=True)
        flow = flow * (1.0 / 2**5)
        for _ in range(5):
            flow = flow + self.small(flow, flow)
        flow = 2 * F.interpolate(flow, scale_factor=2, mode="trilinear", align_corners=True)
        return self.large(source, flow), flow


class Theta(nn.Module):
    """An affine stage for `affine_grid`: a matrix of 3×4 in normalized coordinates."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv3d(2, 8, 3, 2, 1), nn.ReLU(), nn.Conv3d(8, 8, 3, 2, 1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(8 * 4**3, 12)

    def forward(self, pair):
        x = F.avg_pool3d(self.features(pair), 2)
        turned = 0.1 * self.head(x.flatten(1)).view(-1, 3, 4)
        return turned + torch.eye(3, 4)


class Basic(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.down = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.down = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.down is None else self.down(x)))


def resnet(width=16):
    stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    stages = [Basic(width, width, 1), Basic(width, 2 * width, 2), Basic(2 * width, 4 * width, 2)]
    return nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1), *stages)


class SimpleBaseline(nn.Module):
    """Heatmaps by transposed convolutions on a ResNet (Xiao et al. 2018)."""

    def __init__(self, landmarks=4, width=16):
        super().__init__()
        self.backbone, layers = resnet(width), []
        for inputs in (4 * width, 2 * width):
            conv = nn.ConvTranspose2d(inputs, 2 * width, 4, 2, 1, bias=False)
            layers += [conv, nn.BatchNorm2d(2 * width), nn.ReLU()]
        self.deconv = nn.Sequential(*layers)
        self.final = nn.Conv2d(2 * width, landmarks, 1)

    def forward(self, x):
        return self.final(self.deconv(self.backbone(x)))


class UNet(nn.Module):
    """The U-Net that most copies come from: bilinear upsampling, padded to the skip's size."""

    def __init__(self, width=8):
        super().__init__()

        def double(inputs, outputs):
            conv = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            again = [nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
            return nn.Sequential(*conv, nn.ReLU(), *again, nn.ReLU())

        self.inc, self.down1, self.down2 = double(1, width), double(width, 16), double(16, 32)
        self.up1, self.up2 = double(48, 16), double(16 + width, width)
        self.outc = nn.Conv2d(width, 1, 1)

    def up(self, small, skip, layer):
        small = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        rows = skip.size(2) - small.size(2)
        columns = skip.size(3) - small.size(3)
        pads = [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
        return layer(torch.cat([skip, F.pad(small, pads)], dim=1))

    def forward(self, x):
        one = self.inc(x)
        two = self.down1(F.max_pool2d(one, 2))
        three = self.down2(F.max_pool2d(two, 2))
        two = self.up(three, two, self.up1)
        return torch.sigmoid(self.outc(self.up(two, one, self.up2)))


class FPN(nn.Module):
    """Upsampling to the size of another map, as feature pyramids do: sizes are computed."""

    def __init__(self, landmarks=3):
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.side, self.head = nn.Conv2d(8, 16, 1), nn.Conv2d(16, landmarks, 3, padding=1)

    def forward(self, x):
        one = F.relu(self.one(x))
        two = F.relu(self.two(one))
        up = F.interpolate(two, size=one.shape[-2:], mode="nearest")
        return torch.sigmoid(self.head(F.silu(up + self.side(one))))


class Regressor(nn.Module):
    """Coordinates from 0 to 1, one landmark per row."""

    def __init__(self, landmarks=5):
        super().__init__()
        self.backbone, self.landmarks = resnet(8), landmarks
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(32, 2 * landmarks)

    def forward(self, x):
        x = torch.flatten(self.pool(self.backbone(x)), 1)
        return torch.sigmoid(self.fc(x)).view(x.size(0), self.landmarks, 2)


class Views(nn.Module):
    def __init__(self, classes=4):
        super().__init__()
        self.backbone, self.fc = resnet(8), nn.Linear(32, classes)

    def forward(self, x):
        return F.softmax(self.fc(self.backbone(x).mean(dim=[2, 3])), dim=1)


def networks():
    """By name: the network, its inputs' names and shapes, its outputs' names, which axes of an
    input are left open."""
    volume, pair, frame, color = (1, 1, 32, 32, 32), (1, 2, 32, 32, 32), (1, 1, 96, 128), (1, 3, 96, 128)
    image = {0: "batch", 2: "height", 3: "width"}
    moved = (["moved", "flow"], {})
    return {
        "voxelmorph": (VoxelMorph(), {"source": volume, "target": volume}, ["flow"], {}),
        "voxelmorph_integrated": (
            VoxelMorph(integrate=True), {"source": volume, "target": volume}, *moved),
        "theta": (Theta(), {"pair": pair}, ["theta"], {}),
        "simple_baseline": (SimpleBaseline(), {"input": color}, ["heatmaps"], image),
        "unet": (UNet(), {"image": frame}, ["mask"], image),
        "fpn": (FPN(), {"image": frame}, ["heatmaps"], image),
        "regressor": (Regressor(), {"x": color}, ["points"], {0: "batch"}),
        "views": (Views(), {"x": color}, ["probabilities"], {}),
    }
