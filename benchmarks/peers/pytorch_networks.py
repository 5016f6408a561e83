"""models/resnet18.py, resnet20.py and vit.py in PyTorch: the same layers, initialised alike, for
images [B, 3, 32, 32]. tests/test_networks_in_pytorch.py holds them to each other."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions beside a shortcut of option B."""

    def __init__(self, channels, features, stride):
        super().__init__()
        self.first = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(features), nn.BatchNorm2d(features)])
        same = stride == 1 and channels == features
        self.shortcut: nn.Module = nn.Identity() if same else nn.Sequential(
            nn.Conv2d(channels, features, 1, stride, bias=False), nn.BatchNorm2d(features))

    def forward(self, x):
        y = functional.relu(self.norms[0](self.first(x)))
        return functional.relu(self.norms[1](self.second(y)) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, blocks, width, features, num_classes=10):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(features, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        x = functional.relu(self.norm(self.stem(x)))
        return self.head(self.blocks(x).mean((2, 3)))


def resnet18():
    """A shortcut of option B where the shape changes."""
    shapes = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1),
              (128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
    return ResNet([Block(*shape) for shape in shapes], 64, 512)


class Padded(nn.Module):
    """A shortcut of option A: every `stride`th pixel, and so many channels of zeros."""

    def __init__(self, stride, channels):
        super().__init__()
        self.stride, self.channels = stride, channels

    def forward(self, x):
        x = x[..., :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, 0, self.channels))


def resnet20():
    shapes = [(16, 16, 1)] * 3 + [(16, 32, 2), *[(32, 32, 1)] * 2, (32, 64, 2), *[(64, 64, 1)] * 2]
    blocks = []
    for channels, features, stride in shapes:
        block = Block(channels, features, stride)
        block.shortcut = Padded(stride, features - channels)
        blocks.append(block)
    return ResNet(blocks, 16, 64)


class DropPath(nn.Module):
    """Leaves a branch out of an example with probability `rate` (Huang et al. 2016)."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if not self.training or not self.rate:
            return x
        kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


class Layer(nn.TransformerEncoderLayer):
    """PyTorch's own layer, whose two branches may be left out."""

    def __init__(self, width, heads, drop_path):
        super().__init__(width, heads, 4 * width, 0.0, functional.gelu, 1e-6, batch_first=True,
                         norm_first=True)
        self.drop_path = DropPath(drop_path)

    def _sa_block(self, *inputs, **how):
        return self.drop_path(super()._sa_block(*inputs, **how))

    def _ff_block(self, x):
        return self.drop_path(super()._ff_block(x))


class ViT(nn.Module):
    def __init__(self, num_classes=10, patch=4, width=192, depth=9, heads=3, drop_path=0.1):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (32 // patch) ** 2, width))
        self.layers = nn.Sequential(*(
            Layer(width, heads, drop_path * number / max(1, depth - 1)) for number in range(depth)
        ))
        self.norm, self.head = nn.LayerNorm(width, 1e-6), nn.Linear(width, num_classes)
        for name, value in self.named_parameters():
            if "weight" in name and value.ndim == 2:
                nn.init.xavier_uniform_(value)
            if "bias" in name:
                nn.init.zeros_(value)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.layers(x))[:, 0])


NETWORKS = {"resnet18": resnet18, "resnet20": resnet20, "vit": ViT}
