"""The oracle: a small NumPy deep-learning library, by topic. Imports nothing of the grader or the solutions."""
