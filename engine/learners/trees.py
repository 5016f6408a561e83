"""The values that trees follow, where recipes import them from."""

from engine.optim.trees import RandomForest as RandomForest
from engine.optim.trees import XGBoost as XGBoost
