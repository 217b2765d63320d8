"""The fault matrix: each promise against each fault, with figures from real processes."""
