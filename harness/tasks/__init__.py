"""The two YAML files, as checked objects."""
