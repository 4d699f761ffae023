"""Experiment trackers: what follows a training and shows it elsewhere. Each is a part, registered in `TRACKERS`."""

from autoseg.tracking.mlflow import MlflowTracker as MlflowTracker
from autoseg.tracking.port import TRACKERS as TRACKERS
from autoseg.tracking.port import TrackedRun as TrackedRun
from autoseg.tracking.port import Tracker as Tracker
from autoseg.tracking.tensorboard import TensorBoardTracker as TensorBoardTracker
from autoseg.tracking.wandb import WandbTracker as WandbTracker
