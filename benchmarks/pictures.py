"""What the largest picture of each format takes while it is decoded: python -m benchmarks.pictures.

Each is read by a process of its own, to 32 × 32, as a set's pictures are. Told is the most memory
that it held at once beyond what it held before (Linux counts it, in VmHWM).
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SIDE = 8000  # 64 million pixels
# name → Pillow's mode and how it is saved
PICTURES = {
    "PNG, grey": ("L", "PNG", {}), "PNG, colour": ("RGB", "PNG", {}),
    "PNG, alpha": ("RGBA", "PNG", {}), "PNG, palette": ("P", "PNG", {}),
    "JPEG, grey": ("L", "JPEG", {}), "JPEG, colour": ("RGB", "JPEG", {}),
    "JPEG, progressive": ("RGB", "JPEG", {"progressive": True}), "JPEG, CMYK": ("CMYK", "JPEG", {}),
    "BMP, colour": ("RGB", "BMP", {}), "GIF": ("P", "GIF", {}),
    "WebP": ("RGB", "WEBP", {}), "WebP, alpha": ("RGBA", "WEBP", {}),
    "WebP, lossless": ("RGB", "WEBP", {"lossless": True, "quality": 0, "method": 0}),
    "TIFF, colour": ("RGB", "TIFF", {}), "TIFF, LZW": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
}

WRITE = """
import json, sys
from PIL import Image

path, side, mode, kind, how = json.loads(sys.argv[1])
Image.new(mode, (side, side)).save(path, kind, **how)
"""

READ = """
import sys
from engine.sets import image


def most():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line)


shape = image.check(sys.argv[1]).shape
before = most()
image.read(sys.argv[1], (32, 32, shape[2]))
print((most() - before) / 1024)
"""


def main() -> None:
    print(f"| {SIDE:,} × {SIDE:,} | bytes of the file | MiB while it is decoded |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture"
        for name, (mode, kind, how) in PICTURES.items():
            asked = json.dumps([str(path), SIDE, mode, kind, how])
            subprocess.run([sys.executable, "-c", WRITE, asked], check=True)
            done = subprocess.run([sys.executable, "-c", READ, str(path)], check=True, text=True,
                                  capture_output=True)
            print(f"| {name} | {path.stat().st_size:,} | {float(done.stdout):,.0f} |", flush=True)


if __name__ == "__main__":
    main()
