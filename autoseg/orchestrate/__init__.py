"""Run many folds and configurations on several devices or machines, and show the progress."""
