"""Who is asked: the entries of models.yaml and a file for each way to reach a model."""
