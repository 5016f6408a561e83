"""A U-Net, models/unet.py, on a folder of pictures and their masks, docs/data.md#masks.

python launch.py --config configs/unet.py --dataset image_folder:PATH --device gpu
Not yet timed on a GPU; nor is its mean IoU measured.
"""

from engine.config import Config, Hyper

config = Config(dataset="image_folder:PATH", model="unet", schedule="warmup_cosine", epochs=100,
                image_size=128, flip=True)
hyper = Hyper(learning_rate=1e-3)
