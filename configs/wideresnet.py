"""WRN-28-10 with dropout on CIFAR-10 (Zagoruyko & Komodakis 2016), but for a cosine in the place of
drops. `partial` is how a network's own fields are set.

python launch.py --config configs/wideresnet.py --device gpu --precision bf16
Not yet timed on a GPU; nor is its accuracy measured.
On the digits, on two CPU cores (EPYC), 227 s, and accuracy 0.9722 on test:
python launch.py --config configs/wideresnet.py --dataset digits --image_size 8 --epochs 4 \
    --warmup_epochs 1 --batch_size 32 --noflip --crop_padding 0
"""

from functools import partial

from engine.config import Config, Hyper
from models.wideresnet import WideResNet

config = Config(dataset="cifar10", model=partial(WideResNet, depth=28, width=10, dropout=0.3),
                optimizer="sgd", nesterov=True, schedule="warmup_cosine", epochs=200,
                batch_size=128, flip=True, crop_padding=4)
hyper = Hyper(learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
