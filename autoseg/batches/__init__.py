"""Sampling, augmentation and collation, on the device that trains."""
