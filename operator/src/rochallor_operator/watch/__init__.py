"""The watches that put resources into the work queue."""
