"""models/resnet18.py, resnet20.py and vit.py in Keras 3: the same layers, initialised alike, for
images [B, 32, 32, 3]. Keras pads a convolution of stride 2 on one side where the others pad on
both, to as many multiplications."""

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


class Begun(layers.Layer):
    """A token of its own before the others, and learned positions."""

    def build(self, shape):
        _, tokens, width = shape
        self.token = self.add_weight(shape=(1, 1, width), initializer="zeros")
        self.positions = self.add_weight(shape=(1, tokens + 1, width),
                                         initializer=keras.initializers.RandomNormal(stddev=0.02))

    def call(self, x):
        token = keras.ops.broadcast_to(self.token, (keras.ops.shape(x)[0], 1, x.shape[-1]))
        return keras.ops.concatenate([token, x], axis=1) + self.positions


def layer(x, heads: int, drop_path: float):
    """Self-attention, then two dense layers, each after normalisation and beside a shortcut."""
    def drop(branch):
        return layers.Dropout(drop_path, noise_shape=(None, 1, 1))(branch)

    width, norm = x.shape[-1], layers.LayerNormalization(epsilon=1e-6)(x)
    x = x + drop(layers.MultiHeadAttention(heads, width // heads)(norm, norm))
    y = layers.Dense(4 * width, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
    return x + drop(layers.Dense(width)(y))


def vit(patch=4, width=192, depth=9, heads=3, drop_path=0.1) -> keras.Model:
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(width, patch, patch, kernel_initializer="lecun_normal")(inputs)
    x = Begun()(layers.Reshape((-1, width))(x))
    for number in range(depth):
        x = layer(x, heads, drop_path * number / max(1, depth - 1))
    x = layers.LayerNormalization(epsilon=1e-6)(x)[:, 0]
    normal = keras.initializers.RandomNormal(stddev=0.02)
    return keras.Model(inputs, layers.Dense(10, kernel_initializer=normal)(x))


NETWORKS = {"resnet18": resnet18, "resnet20": resnet20, "vit": vit}
