"""Measurements and generated pages; none of this is imported by the package."""
