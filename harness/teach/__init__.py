"""From a model that others learn from to the rows that a student is trained on."""
