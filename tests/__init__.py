"""Tests of the project; a package, so that they may share `tests.models` from any working folder."""
