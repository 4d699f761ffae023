"""Which trained models answer together, and which of their answers need review: decided on the cross-validation cases."""
