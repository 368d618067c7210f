"""What a run would cost, and what its rows can show."""
