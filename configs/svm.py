"""A linear support vector machine on the embedded digits, each class against the others by Crammer
& Singer's hinge loss; --loss squared_hinge takes each against the rest.

python launch.py --config configs/svm.py
Two CPU cores (EPYC), 11 s from start to report. Expected: accuracy 0.9611 on test.
"""

from engine.config import Config, Hyper

config = Config(dataset="digits", model="svm", optimizer="sgd", schedule="linear", epochs=20)
hyper = Hyper(learning_rate=1e-2, momentum=0.9, weight_decay=1e-3)
