"""Many cells: trainings and what they score, on one machine or many."""
