from engine.config import Config as Config
from engine.config import Hyper as Hyper
from engine.data import partition as partition
from engine.errors import RequestError as RequestError
from engine.errors import RunError as RunError
from engine.evaluation import evaluate as evaluate
from engine.feed import Data as Data
from engine.loaded import load as load
from engine.place import Place as Place
from engine.pure import data_for as data_for
from engine.pure import train as train
from engine.run import fit as fit
from engine.sets.dataset import Dataset as Dataset
from engine.sweep.asked import sweep as sweep
from engine.sweep.found import Sweep as Sweep
from engine.task import Task as Task
from engine.tasks.classification import Classification as Classification
from engine.tasks.multilabel import Multilabel as Multilabel
from engine.tasks.positions import Positions as Positions
from engine.tasks.regression import Regression as Regression
from engine.trained import Run as Run

__version__: str
