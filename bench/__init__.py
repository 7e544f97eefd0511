"""What compiled models cost: measured by `run.py`, recorded in README.md."""
