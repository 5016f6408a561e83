"""Gradient-boosted trees by XGBoost: a start for tables of any kind.

python launch.py --config configs/boosted_trees.py --dataset breast_cancer
pip install 'flaxmill[trees]' first. 100 rounds at a rate of 0.05, small trees, each of a share of
the rows and each split among half of the features. On two cores of an EPYC, 12 s; accuracy over
five folds .963 ± .007 (docs/results.md has other sets).
"""

from engine.config import Config
from engine.learners.trees import XGBoost

config = Config(dataset="breast_cancer", model="xgboost", epochs=100)
hyper = XGBoost(learning_rate=0.05, max_depth=3.0, subsample=0.8, colsample_bynode=0.5)
