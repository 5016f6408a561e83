"""ResNet-20 on CIFAR-10, as He et al. 2015 trained it, but for a cosine in the place of drops.

python launch.py --config configs/resnet20.py --device gpu
Not yet timed on a GPU; the paper's accuracy is 91.25 %, not measured here.
On the digits, on two CPU cores (EPYC), 72 s, and accuracy 0.9972 on test:
python launch.py --config configs/resnet20.py --dataset digits --image_size 16 --epochs 6 \
    --warmup_epochs 1 --batch_size 32 --noflip --crop_padding 0
"""

from engine.config import Config, Hyper

config = Config(dataset="cifar10", model="resnet20", optimizer="sgd", schedule="warmup_cosine",
                epochs=164, batch_size=128, flip=True, crop_padding=4)
hyper = Hyper(learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
