"""Tests of rows: where they come from, and which are asked."""
