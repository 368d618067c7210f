"""What made the models shipped with the project; no part of the package."""
