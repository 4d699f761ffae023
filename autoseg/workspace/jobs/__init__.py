"""The jobs of the service: what was asked for, their state, and their files."""
