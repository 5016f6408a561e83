"""Folders of pictures with masks: found by names, read exactly, learned, judged, predicted."""

import json
import re
import shutil

import flax.linen as nn
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import launch
from engine.config import Config, Hyper, Reading
from engine.errors import RequestError
from engine.pictures import image_folder, masks
from engine.place import Place
from engine.run import fit

SIDE = 12
RNG = np.random.default_rng(0)
NAMES = "tree", "lake.1", "sub/cat_l"


def written(root, pictures="images/{}", marks="masks/{}", end="", save=lambda y: Image.fromarray(y),
            names=NAMES, void=True) -> dict[str, np.ndarray]:
    """Pictures whose red tells the class, of two splits; the masks by picture's name."""
    found = {}
    for split in ("train", "val"):
        for name in names:
            y = RNG.integers(0, 3, (SIDE, SIDE)).astype(np.uint8)
            x = np.stack([80 * y, y * 0, y * 0], -1)
            if void:
                y[0] = 255
            for folder, suffix, made in ((pictures, ".png", Image.fromarray(x)),
                                         (marks, f"{end}.png", save(y))):
                file = root / folder.format(split) / f"{name}{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                made.save(file)
            found[f"{split}/{name}"] = y
    return found


COLOURS = np.array([(0, 0, 0), (200, 10, 0), (0, 10, 200)] + [(9, 9, 9)] * 253, np.uint8)


def palette(y):
    made = Image.fromarray(y, "P")
    made.putpalette(COLOURS.ravel().tolist())
    return made


LAYOUTS = {
    "images and masks, splits within": {},
    "splits, images and masks within": {"pictures": "{}/images", "marks": "{}/masks"},
    "with a suffix": {"marks": "{}/Masks", "pictures": "{}/img", "end": "_mask"},
    "as CamVid": {"pictures": "{}", "marks": "{}_labels", "end": "_L"},
    "trainannot": {"pictures": "{}", "marks": "{}annot"},
    "in a folder of its own": {"pictures": "voc/{}/JPEGImages",
                               "marks": "voc/{}/SegmentationClass"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["L", "P"])
def test_pictures_and_masks_are_found_by_their_names(layout, kind, tmp_path):
    save = palette if kind == "P" else Image.fromarray
    wanted = written(tmp_path, save=save, **LAYOUTS[layout])
    found = image_folder.load(str(tmp_path), Reading())
    assert found.classes == ("0", "1", "2") and {*found.splits} == {"train", "validation"}
    for split, own in (("train", "train"), ("validation", "val")):
        x, y, _ = found.splits[split]
        assert x.shape == (3, SIDE, SIDE, 3) and y.dtype == np.int32
        told = {one.tobytes(): mask for one, mask in zip(x, y, strict=True)}
        for name in NAMES:
            mask = wanted[f"{own}/{name}"].astype(int)
            mask[0] = -1
            picture = next(x for x in told if np.frombuffer(x, np.uint8).reshape(
                SIDE, SIDE, 3)[1:, :, 0].tobytes() == np.uint8(80 * mask[1:]).tobytes())
            np.testing.assert_array_equal(told[picture], mask)
    assert any("255 is none" in note for note in found.notes)
    again = image_folder.load(str(tmp_path), Reading())  # from the cache
    assert again.fingerprint == found.fingerprint and again.classes == found.classes


def test_colours_are_classes_and_black_and_white_are_two(tmp_path):
    y = written(tmp_path / "a", save=lambda y: Image.fromarray(COLOURS[y]), void=False)
    found = image_folder.load(str(tmp_path / "a"), Reading())
    assert found.classes == ("#000000", "#000ac8", "#c80a00")  # in their order as numbers
    of = np.array([0, 2, 1])
    every = np.sort(np.concatenate([of[one].ravel() for one in y.values()]))
    np.testing.assert_array_equal(every, np.sort(np.concatenate(
        [split.targets.ravel() for split in found.splits.values()])))
    for name, told, save in (("b", "255", lambda y: Image.fromarray(np.uint8(255) * (y > 0))),
                             ("c", "white", lambda y: Image.fromarray(y > 0))):
        written(tmp_path / name, save=save, void=False)
        found = image_folder.load(str(tmp_path / name), Reading())
        assert found.classes == ("0", "1")
        assert {*np.unique(found.splits["train"].targets)} == {0, 1}
        assert f"masks: {told} is class 1" in found.notes


def deep(y, file, depth):
    """A grey file whose white is 2 to the power of so many bits, less 1."""
    if depth in (2, 4):
        return Image.fromarray(y).save(file, bits=depth)
    file.unlink(missing_ok=True)
    head = f"P5 {SIDE} {SIDE} {2**depth - 1}\n".encode()
    return file.with_suffix(".pgm").write_bytes(head + y.tobytes())


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_numbers_of_fewer_bits_are_read_as_they_are(depth, tmp_path):
    wanted = written(tmp_path, void=False)
    whole = image_folder.load(str(tmp_path), Reading())
    for name, y in wanted.items():
        deep(y, tmp_path / f"masks/{name}.png", depth)
    assert image_folder.load(str(tmp_path), Reading()).fingerprint == whole.fingerprint
    for name, y in wanted.items():
        deep(np.uint8(2**depth - 1) * (y > 1), tmp_path / f"masks/{name}.png", depth)
    assert image_folder.load(str(tmp_path), Reading()).classes == ("0", "1")


def test_one_bit_among_numbers_is_one(tmp_path):
    wanted = written(tmp_path, save=lambda y: Image.fromarray(np.uint8(y > 0)), void=False)
    whole = image_folder.load(str(tmp_path), Reading())
    Image.fromarray(wanted["val/tree"] > 0).save(tmp_path / "masks/val/tree.png")
    assert image_folder.load(str(tmp_path), Reading()).fingerprint == whole.fingerprint


def as_gifs(root):
    """The set with its masks as GIFs, in each of which Pillow numbers anew what it has."""
    gifs = shutil.copytree(root, root.with_name("gif"))
    for file in sorted(gifs.glob("masks/*/*.png")):
        Image.open(file).save(file.with_suffix(".gif"))
        file.unlink()
    return image_folder.load(str(gifs), Reading())


@pytest.mark.parametrize("values", [(0, 3, 5), (0, 0, 255), (0, 1, 255)])
def test_gifs_are_the_greys_that_they_show(values, tmp_path):
    written(tmp_path / "a", save=lambda y: Image.fromarray(np.uint8(values)[y]), void=False)
    Image.new("L", (SIDE, SIDE), values[2]).save(tmp_path / "a/masks/val/tree.png")
    whole = image_folder.load(str(tmp_path / "a"), Reading())
    assert as_gifs(tmp_path / "a").fingerprint == whole.fingerprint


def test_gifs_of_colours_are_one_palettes(tmp_path):
    written(tmp_path / "a", save=palette, void=False)
    assert as_gifs(tmp_path / "a").classes == ("0", "1", "2")
    palette(np.ones((SIDE, SIDE), np.uint8)).save(tmp_path / "a/masks/val/tree.png")
    shutil.rmtree(tmp_path / "gif")
    with pytest.raises(RequestError, match="0 is #[0-9a-f]{6} in one and #c80a00 in another"):
        as_gifs(tmp_path / "a")


def test_numbers_of_sixteen_bits_are_read_as_they_are(tmp_path):
    written(tmp_path, save=lambda y: Image.fromarray(y.astype(np.uint16) * 300), void=False)
    found = image_folder.load(str(tmp_path), Reading())
    assert len(found.classes) == 601
    assert {*np.unique(found.splits["train"].targets)} == {0, 300, 600}


def test_a_size_takes_the_nearest_class_and_a_turned_picture_its_own_mask(tmp_path):
    written(tmp_path, void=False)
    found = image_folder.load(str(tmp_path), Reading(image_size=SIDE // 2)).splits["train"]
    whole = image_folder.load(str(tmp_path), Reading()).splits["train"]
    assert found.inputs.shape[1:] == (6, 6, 3)
    nearest = np.stack([np.asarray(Image.fromarray(y.astype(np.uint8)).resize(
        (6, 6), Image.Resampling.NEAREST)) for y in whole.targets])
    np.testing.assert_array_equal(found.targets, nearest)
    folder = tmp_path / "turned"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for at in range(2):
        tall = Image.fromarray(RNG.integers(0, 255, (6, 10, 3)).astype(np.uint8))
        exif = tall.getexif()
        exif[0x0112] = 6  # seen, it is 10 high and 6 wide
        tall.save(folder / f"images/{at}.jpg", exif=exif)
        Image.fromarray(np.full((10, 6), at, np.uint8)).save(folder / f"masks/{at}.png")
    assert image_folder.load(str(folder), Reading()).splits["train"].targets.shape == (2, 10, 6)


@pytest.mark.parametrize("names", [
    ["mask/1.png", "nomask/1.png"], ["with_mask/1.png", "without_mask/1.png"],
    ["images/1.png", "masks/2.png"], ["images/1.png", "with_mask/1.png"],
    ["cat/1.png", "dog/1.png"],
    ["images/cat/1.png", "images/dog/1.png"], ["train/mask/1.png", "train/face/1.png"]])
def test_classes_that_are_called_so_are_classes(names):
    assert masks.paired("set", names) == {}


REFUSED = {
    "no mask": (lambda root: (root / "masks/val/tree.png").unlink(),
                "1 of its 6 pictures have no mask, 'images/val/tree.png' for one"),
    "JPEG": (lambda root: _again(root / "masks/val/tree.png", "masks/val/tree.jpg", root),
             "JPEG changes the numbers: save it as PNG"),
    "another size": (lambda root: Image.new("L", (3, 4)).save(root / "masks/val/tree.png"),
                     "it has 4 × 3 pixels, its picture 12 × 12"),
    "colours among numbers": (
        lambda root: Image.new("RGB", (SIDE, SIDE)).save(root / "masks/val/tree.png"),
        "'masks/val/tree.png' has colours, and other masks numbers"),
    "damaged": (lambda root: (root / "masks/val/tree.png").write_bytes(b"\x89PNG"),
                "1 of its 6 masks can't be used"),
    "two of a name": (lambda root: _again(root / "images/val/tree.png", "images/val/tree.bmp",
                                          root, keep=True), "have one name but for their endings"),
    "two masks": (lambda root: _again(root / "masks/val/tree.png", "masks/val/tree_gt.png", root,
                                      keep=True), "'masks/val/tree.png' and "
                  "'masks/val/tree_gt.png' are both masks of 'images/val/tree.png'"),
}


def _again(file, name, root, keep=False):
    Image.open(file).save(root / name)
    if not keep:
        file.unlink()


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_mask_is_refused_by_its_name(case, tmp_path):
    written(tmp_path)
    change, words = REFUSED[case]
    change(tmp_path)
    with pytest.raises(RequestError, match=re.escape(words)) as found:
        image_folder.load(str(tmp_path), Reading())
    assert "\n" not in str(found.value)


def test_a_folder_of_masks_without_any_is_told(tmp_path):
    written(tmp_path, names=("tree", "lake.1"))
    shutil.rmtree(tmp_path / "masks")
    (tmp_path / "masks").mkdir()
    with pytest.raises(RequestError, match="its folder 'masks' is empty, so that no picture has a "
                       "mask; put pictures in images/"):
        image_folder.load(str(tmp_path), Reading())
    for name in "tree", "lake":  # which are classes, whatever is empty beside them
        (tmp_path / "images/train" / name).mkdir()
    for file in tmp_path.glob("images/*/*.png"):
        file.rename(tmp_path / "images/train" / file.name[:4] / f"{file.parent.name}.png")
    assert image_folder.load(str(tmp_path), Reading()).classes == ("lake", "tree")


def test_an_empty_folder_beside_a_table_of_labels_is_no_folder_of_masks(tmp_path):
    for folder in "images", "labels":
        (tmp_path / folder).mkdir()
    for name in "abcd":
        Image.new("RGB", (8, 8)).save(tmp_path / f"images/{name}.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,x\nb.png,y\nc.png,x\nd.png,y\n")
    for reading in Reading(), Reading(labels="labels.csv"):
        assert image_folder.load(str(tmp_path), reading).classes == ("x", "y")


def test_masks_that_change_while_they_are_read_are_refused(tmp_path, monkeypatch):
    written(tmp_path)

    def read(*of, own=masks.read):
        (tmp_path / "masks/val/tree.png").touch()
        return own(*of)

    monkeypatch.setattr(masks, "read", read)
    with pytest.raises(RequestError, match=r"1 of 12 files changed .*'masks/val/tree.png'"):
        image_folder.load(str(tmp_path), Reading())


def test_flags_of_tables_and_too_many_colours_are_refused(tmp_path):
    written(tmp_path)
    with pytest.raises(RequestError, match="--target kind a table's"):
        image_folder.load(str(tmp_path), Reading(target="kind"))
    with pytest.raises(RequestError, match="held in memory, not streamed"):
        image_folder.listed(str(tmp_path), Reading())
    noise = RNG.integers(0, 255, (SIDE, SIDE, 3, 6)).astype(np.uint8)
    written(tmp_path / "b", save=lambda y: Image.fromarray(noise[..., int(y[1, 0])]))
    with pytest.raises(RequestError, match=r"its masks have \d+ colours, more than the 256"):
        image_folder.load(str(tmp_path / "b"), Reading())


class Pixels(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.num_classes)(nn.relu(nn.Dense(16)(x)))


NETWORK = f"{ROOT}/tests/test_masks.py:Pixels"


def test_they_are_learned_judged_and_predicted_from_the_command_line(tmp_path, capsys):
    wanted = written(tmp_path / "set", names=[str(at) for at in range(8)])
    run = tmp_path / "run"
    fit(Config(dataset=f"image_folder:{tmp_path}/set", model=NETWORK, epochs=60, batch_size=4),
        Hyper(learning_rate=0.05), Place(device="cpu", run_dir=str(run), report=False))
    assert "task: positions, since the targets are a class of each position" in \
        capsys.readouterr().out
    assert json.loads((run / "metrics.json").read_text())["mean_iou"] > 0.99
    pictures = f"{tmp_path}/set/images/val"
    out = tmp_path / "out"
    words = ["predict", "--run_dir", str(run), pictures]
    assert launch.main([*words, "--output", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and len({*out.iterdir()}) == 8
    for line in lines:
        file, *pairs = line.split("\t")
        mask = Image.open(out / file.rpartition("/")[2])
        y = wanted[f"val/{mask.filename.rpartition('/')[2].removesuffix('.png')}"]
        np.testing.assert_array_equal(np.asarray(mask)[1:], y[1:])
        share = dict(zip(pairs[::2], map(float, pairs[1::2]), strict=True))
        assert share["0"] == pytest.approx((np.asarray(mask) == 0).mean(), abs=1e-4)
    for flags, said in ((["--output", "a.csv"], "type a folder"), (["--top", "2"], "--top 2"),
                        (["--output", pictures], "holds what is to be predicted")):
        assert launch.main([*words, *flags]) == 2
        assert said in capsys.readouterr().err
    assert launch.main(["eval", "--run_dir", str(run)]) == 0
    assert "mean_iou" in capsys.readouterr().out
    written(tmp_path / "other", save=lambda y: Image.fromarray(np.uint8(255) * (y > 0)), void=False)
    other = f"image_folder:{tmp_path}/other"
    assert launch.main(["eval", "--run_dir", str(run), "--dataset", other, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] > 0.99  # 255 is none there too
