"""The parts of benchmarks/contention.py."""
