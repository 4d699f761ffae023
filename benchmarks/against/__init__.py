"""The pieces of benchmarks/against_nnunet.py: measuring, the data, the stages, the table."""
