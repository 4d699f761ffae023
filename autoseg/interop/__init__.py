"""Datasets of others, taken over as raw datasets, and models that are judged on them."""
