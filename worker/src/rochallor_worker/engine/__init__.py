"""Clients of the engine: one protocol, and one implementation per transport."""
