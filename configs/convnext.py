"""A small ConvNeXt on CIFAR-10, from scratch.

python launch.py --config configs/convnext.py --device gpu --precision bf16
Not yet timed on a GPU; nor is its accuracy measured.
On the digits, on two CPU cores (EPYC) of which another program had one, 171 s, and accuracy 0.9694
on test:
python launch.py --config configs/convnext.py --dataset digits --image_size 16 --epochs 6 \
    --warmup_epochs 1 --batch_size 32 --noflip --crop_padding 0
"""

from engine.config import Config, Hyper

config = Config(dataset="cifar10", model="convnext", optimizer="adamw", schedule="warmup_cosine",
                warmup_epochs=10.0, epochs=200, batch_size=128, flip=True, crop_padding=4)
hyper = Hyper(learning_rate=2e-3, weight_decay=0.05, label_smoothing=0.1)
