"""Choose the models that predict together, and the rule for which predictions need review, on the cross-validation cases."""
