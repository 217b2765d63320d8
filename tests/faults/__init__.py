"""The fault matrix: each promise against each fault, with figures that real processes gave."""
