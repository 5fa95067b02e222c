"""evaluation: tasks, answer parsers, scorers, controls, intervals: numbers that hold."""
