"""Datasets in the layouts of other programs. Each is read into a `ForeignDataset`; `interop/importing.py` brings it in."""
