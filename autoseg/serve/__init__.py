"""The web service: jobs, a viewer, and the doors of other programs."""
