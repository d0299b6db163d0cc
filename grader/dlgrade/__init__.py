"""dlgrade: a graded deep-learning course in NumPy, and the grader that names your mistake."""

__version__ = "0.1.0"
