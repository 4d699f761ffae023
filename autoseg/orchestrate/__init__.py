"""Many folds, configurations and machines: what runs when and where, and how far all of it is."""
