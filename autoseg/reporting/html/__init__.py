"""One HTML file that says what a dataset is, what was trained on it and how good it is."""
