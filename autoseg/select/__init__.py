"""Which trained models answer together, and how far to trust them: decided on the cross-validation cases."""
