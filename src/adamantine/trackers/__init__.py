"""Other people's trackers, told of runs and studies: MLflow, TensorBoard, W&B, CSV files.

- ``protocol``: what a tracker is told, and what it promises
- ``identity``: by what a run is known again, after a kill as before it
- ``of_records``: what of a record a tracker is told
- ``session``: several trackers, opened by name, as one
- ``to_csv``, ``to_mlflow``, ``to_tensorboard``, ``to_wandb``: one each; their packages are imported
  when they are opened
"""

from adamantine.trackers.protocol import Outcome, TrackedLook, TrackedRun, Tracker

__all__ = ["Outcome", "TrackedLook", "TrackedRun", "Tracker"]
