"""training: recipes become checkpoints: objectives, stages, one loop, exact resume."""
