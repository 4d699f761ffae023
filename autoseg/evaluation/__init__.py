"""Scores: volume-wise, in mm and mL, with a stated policy for empty masks."""
