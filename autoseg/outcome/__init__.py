"""Outcomes of patients: features of a segmented case and its table, models that are fitted on them, and their scores."""
