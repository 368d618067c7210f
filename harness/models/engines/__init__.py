"""Models that run in this process: the engines that generate, and what they share."""
