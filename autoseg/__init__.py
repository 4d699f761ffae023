"""A self-configuring medical image segmentation pipeline."""
