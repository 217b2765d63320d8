"""The engine over REST."""
