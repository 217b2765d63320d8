"""Clients of the engine: one protocol, one implementation per transport."""
