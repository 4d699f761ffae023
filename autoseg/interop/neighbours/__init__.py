"""Datasets in the layouts of other programs: each is read into a `ForeignDataset`, which `interop/importing.py` brings in."""
