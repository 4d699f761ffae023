"""The parts of benchmarks/speedrun.py."""
