"""Tests of the two YAML files."""
