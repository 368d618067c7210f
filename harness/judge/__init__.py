"""Pairs of answers set before a judge, and models ranked by such votes."""
