"""models/resnet18.py and resnet20.py in Keras 3: the same layers, initialised alike, for images
[B, 32, 32, 3]. Keras pads a convolution of stride 2 on one side where the others pad on both, to as
many multiplications."""

import keras
from keras import layers


def normed(x, features: int, stride: int = 1, size: int = 3):
    x = layers.Conv2D(features, size, stride, padding="same", use_bias=False,
                      kernel_initializer="he_normal")(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def projected(x, features: int, stride: int):
    """A shortcut of option B where the shape changes."""
    return x if stride == 1 and x.shape[-1] == features else normed(x, features, stride, 1)


def padded(x, features: int, stride: int):
    """A shortcut of option A: every `stride`th pixel, zeros in the channels that are new."""
    x = x[:, ::stride, ::stride, :]
    return keras.ops.pad(x, [[0, 0]] * 3 + [[0, features - x.shape[-1]]])


def resnet(widths: tuple[int, ...], blocks: int, shortcut) -> keras.Model:
    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU()(normed(inputs, widths[0]))
    for features in widths:
        for number in range(blocks):
            stride = 2 if number == 0 and features > widths[0] else 1
            y = layers.ReLU()(normed(x, features, stride))
            x = layers.ReLU()(normed(y, features) + shortcut(x, features, stride))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def resnet18() -> keras.Model:
    return resnet((64, 128, 256, 512), 2, projected)


def resnet20() -> keras.Model:
    return resnet((16, 32, 64), 3, padded)


NETWORKS = {"resnet18": resnet18, "resnet20": resnet20}
