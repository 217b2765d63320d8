"""A resource → validated values."""
