"""Decides: fingerprint + hardware + budget -> plan. Pure: no torch, no disk, no clock, no global random state."""
