"""tfds builders of CIFAR and MNIST that need no TensorFlow.

Names, versions, features, splits, keys and order are those of tfds's own builders, so that plain
`tfds.data_source` reads what they write. They aren't registered: tfds's own keep the names.
"""

import contextlib
import gzip
import io
import math
import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from engine import errors

# What the official archives expand to: CIFAR to 184 MB, MNIST's training images to 47,040,016 B.
_MOST_TAR = 200_000_000
_MOST_IDX = 48_000_000
_FASHION_CLASSES = (
    "T-shirt/top Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag Ankle_boot".split()
)


def write(name: str, archives: Sequence[Path], root: Path) -> None:
    """Prepares one of the four sets from its `archives` into root/name/version, or not at all.

    Raises RunError where an archive lacks what it should hold, or the folder can't be written.
    """
    kinds = {kind.name: kind for kind in (Cifar10, Cifar100, Mnist, FashionMnist)}
    builder = kinds[name](archives, data_dir=root, file_format="array_record")
    print(f"writing {name} to {builder.data_dir}", file=sys.stderr)
    tfds.display_progress_bar(sys.stderr.isatty())
    try:
        # tfds prints to stdout, which belongs to the caller's own output.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare()
    except (OSError, ValueError) as error:
        raise errors.RunError(f"preparing {name} in {root} failed: {error}") from error


class _ArchiveBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder whose archives are on the disk already."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(skip_registration=True, **kwargs)  # type: ignore[call-arg]

    def __init__(self, archives: Sequence[Path], **kwargs: Any):
        self._archives = archives
        super().__init__(**kwargs)

    def _describe(self, text: str, homepage: str, features: dict[str, Any]) -> Any:
        return tfds.core.DatasetInfo(
            builder=self,
            description=text,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            homepage=homepage,
        )


class Cifar10(_ArchiveBuilder):
    """Records of one label byte and 3x32x32 pixels."""

    VERSION = tfds.core.Version("3.0.2")
    folder = "cifar-10-batches-bin"
    files = {"train": [f"data_batch_{n}.bin" for n in range(1, 6)], "test": ["test_batch.bin"]}
    # Label feature → the file of its names, in the order of a record's bytes.
    labels = {"label": "batches.meta.txt"}
    counts = {"label": 10}

    def _info(self) -> Any:
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(32, 32, 3)),
            **{key: tfds.features.ClassLabel(num_classes=n) for key, n in self.counts.items()},
        }
        text = f"60,000 colour images of 32x32 pixels in {self.counts['label']} classes."
        return self._describe(text, "https://www.cs.toronto.edu/~kriz/cifar.html", features)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        wanted = [*self.labels.values(), *(file for files in self.files.values() for file in files)]
        found = members(self._archives[0], [f"{self.folder}/{file}" for file in wanted])
        for key, file in self.labels.items():
            lines = found[f"{self.folder}/{file}"].decode().split("\n")
            self.info.features[key].names = [line for line in lines if line]
        return {
            split: self._generate_examples(split, [found[f"{self.folder}/{f}"] for f in files])
            for split, files in self.files.items()
        }

    def _generate_examples(self, split: str, batches: Iterable[bytes]) -> Iterator[tuple]:
        index = 0
        for batch in batches:
            records = np.frombuffer(batch, np.uint8).reshape(-1, len(self.labels) + 3072)
            for record in records:
                classes = dict(zip(self.labels, record.tolist(), strict=False))
                pixels_HxWxC = record[len(self.labels) :].reshape(3, 32, 32).transpose(1, 2, 0)
                yield index, {"id": f"{split}_{index:05d}", "image": _png(pixels_HxWxC), **classes}
                index += 1


class Cifar100(Cifar10):
    """Records of a coarse label byte, a fine label byte and 3x32x32 pixels."""

    VERSION = tfds.core.Version("3.0.2")
    folder = "cifar-100-binary"
    files = {"train": ["train.bin"], "test": ["test.bin"]}
    labels = {"coarse_label": "coarse_label_names.txt", "label": "fine_label_names.txt"}
    counts = {"label": 100, "coarse_label": 20}


class Mnist(_ArchiveBuilder):
    """Four IDX files: images and labels of train, then of test."""

    VERSION = tfds.core.Version("3.0.1")
    homepage = "http://yann.lecun.com/exdb/mnist/"
    classes = [str(digit) for digit in range(10)]

    def _info(self) -> Any:
        features = {
            "image": tfds.features.Image(shape=(28, 28, 1)),
            "label": tfds.features.ClassLabel(names=self.classes),
        }
        return self._describe(
            "70,000 grey images of 28x28 pixels in 10 classes.", self.homepage, features
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        train_images, train_labels, test_images, test_labels = map(
            idx, self._archives, (3, 1, 3, 1)
        )
        return {
            "train": self._generate_examples(train_images, train_labels),
            "test": self._generate_examples(test_images, test_labels),
        }

    def _generate_examples(self, images: np.ndarray, labels: np.ndarray) -> Iterator[tuple]:
        for index, (pixels_HxW, label) in enumerate(zip(images, labels, strict=True)):
            yield index, {"image": _png(pixels_HxW), "label": int(label)}


class FashionMnist(Mnist):
    """The same four files, of clothes."""

    VERSION = tfds.core.Version("3.0.1")
    homepage = "https://github.com/zalandoresearch/fashion-mnist"
    classes = [name.replace("_", " ") for name in _FASHION_CLASSES]


class _Capped(gzip.GzipFile):
    """What a .gz expands to. Raises ValueError once that is more than `most` bytes."""

    def __init__(self, archive: Path, most: int):
        super().__init__(archive, "rb")
        self._most, self._left = most, most

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._left + 1 if size is None or size < 0 else min(size, self._left + 1)
        data = super().read(wanted)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"it expands to more than {self._most:,} bytes")
        return data


@contextlib.contextmanager
def _expanded(archive: Path, most: int) -> Iterator[_Capped]:
    """What a .gz expands to; its faults, and those of what reads it, as RunError."""
    try:
        with _Capped(archive, most) as file:
            yield file
    except (OSError, ValueError, EOFError, zlib.error, tarfile.TarError, RecursionError) as error:
        raise errors.RunError(f"{archive} can't be read: {error}") from error


def members(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The named files of a .tar.gz, read from the stream: nothing is ever extracted to the disk.

    So links, devices and names that lead elsewhere are passed over. Raises RunError where a name
    is missing, comes twice or is no plain file, and where the archive is damaged or expands to
    more than CIFAR's do.
    """
    found: dict[str, bytes] = {}
    with _expanded(archive, _MOST_TAR) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            if member.name in names:
                file = tar.extractfile(member) if member.isreg() else None
                # A sparse file is as large as it says, and its archive need not be.
                if file is None or member.issparse() or member.name in found:
                    raise ValueError(f"{member.name} is no plain file, or comes twice")
                found[member.name] = file.read()
    if missing := sorted(set(names) - set(found)):
        raise errors.RunError(f"{archive} holds no {', '.join(missing)}")
    return found


def idx(path: Path, ndim: int) -> np.ndarray:
    """The uint8 array of `ndim` axes in a gzipped IDX file.

    Raises RunError for any other file, and for one that expands to more than MNIST's do.
    """
    with _expanded(path, _MOST_IDX) as stream:
        data = stream.read()
        head = 4 + 4 * ndim
        if len(data) < head or data[:4] != bytes([0, 0, 8, ndim]):
            raise ValueError(f"no IDX file of bytes in {ndim} axes: it begins {data[:4]!r}")
        shape = np.frombuffer(data, ">i4", ndim, 4).tolist()
        if math.prod(shape) != len(data) - head:
            raise ValueError(f"it holds {len(data) - head:,} bytes, which are not {shape}")
        return np.frombuffer(data, np.uint8, offset=head).reshape(shape)


def _png(pixels: np.ndarray) -> io.BytesIO:
    # tfds stores the bytes of a file object as they are; it would encode an array by TensorFlow.
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    encoded.seek(0)
    return encoded
