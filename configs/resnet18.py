"""ResNet-18 on CIFAR-10.

python launch.py --config configs/resnet18.py --device gpu --precision bf16
Not yet timed on a GPU; nor is its accuracy measured.
On the digits, on two CPU cores (EPYC), 83 s, and accuracy 0.9528 on test:
python launch.py --config configs/resnet18.py --dataset digits --image_size 8 --epochs 4 \
    --warmup_epochs 1 --batch_size 32 --noflip --crop_padding 0
"""

from engine.config import Config, Hyper

config = Config(dataset="cifar10", model="resnet18", optimizer="sgd", nesterov=True,
                schedule="warmup_cosine", epochs=200, batch_size=128, flip=True, crop_padding=4)
hyper = Hyper(learning_rate=0.1, momentum=0.9, weight_decay=5e-4)
