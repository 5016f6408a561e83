"""A multilayer perceptron on the embedded digits; --dataset table:FILE.csv is a table.

python launch.py --config configs/mlp.py
Two CPU cores (EPYC), 14 s from start to report. Expected: accuracy 0.9639 on test.
"""

from engine.config import Config, Hyper

config = Config(dataset="digits", model="mlp", optimizer="adamw", schedule="cosine", epochs=20)
hyper = Hyper(learning_rate=1e-3, weight_decay=1e-2)
