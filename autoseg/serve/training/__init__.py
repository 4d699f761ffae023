"""The training side of the service: what the workspace says of its datasets and folds, and processes that train."""
