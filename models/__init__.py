"""Every network by name; all are called as model(image_BxHxWxC, train) → logits."""

import flax.linen as nn

from models.cnn import CNN
from models.resnet import ResNet20

MODELS: dict[str, type[nn.Module]] = {"cnn": CNN, "resnet20": ResNet20}


def build(name: str, num_classes: int, convolution: str = "auto") -> nn.Module:
    return MODELS[name](num_classes=num_classes)  # type: ignore[call-arg]
