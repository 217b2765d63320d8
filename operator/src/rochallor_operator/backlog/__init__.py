"""Which jobs wait and run in the engines' databases, and whether anybody serves them."""
