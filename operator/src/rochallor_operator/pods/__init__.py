"""A worker's pods: their problems, their own answers and their deletion cost."""
