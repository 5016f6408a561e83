"""tfds builders of CIFAR and MNIST that need no TensorFlow.

Names, versions, features, splits, keys and order are those of tfds's own builders, so that plain
`tfds.data_source` reads what they write. They aren't registered: tfds's own keep the names.
"""

import contextlib
import gzip
import io
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from engine import errors

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
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
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
        members = _members(self._archives[0], [f"{self.folder}/{file}" for file in wanted])
        for key, file in self.labels.items():
            lines = members[f"{self.folder}/{file}"].decode().split("\n")
            self.info.features[key].names = [line for line in lines if line]
        return {
            split: self._generate_examples(split, [members[f"{self.folder}/{f}"] for f in files])
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
        train_images, train_labels, test_images, test_labels = map(_idx, self._archives)
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


def _members(archive: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The named files of a .tar.gz, read from the stream: nothing is ever extracted to the disk."""
    found = {}
    with tarfile.open(archive, "r|gz") as tar:
        for member in tar:
            if member.name in names and member.isfile() and (file := tar.extractfile(member)):
                found[member.name] = file.read()
    if missing := sorted(set(names) - set(found)):
        raise errors.RunError(f"{archive} holds no {', '.join(missing)}")
    return found


def _idx(path: Path) -> np.ndarray:
    """A gzipped IDX file of unsigned bytes: its last byte of magic is the number of dimensions."""
    data = gzip.decompress(path.read_bytes())
    if data[:3] != b"\0\0\x08":
        raise errors.RunError(f"{path} is no IDX file of bytes: it begins {data[:4]!r}")
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def _png(pixels: np.ndarray) -> io.BytesIO:
    # tfds stores the bytes of a file object as they are; it would encode an array by TensorFlow.
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    encoded.seek(0)
    return encoded
