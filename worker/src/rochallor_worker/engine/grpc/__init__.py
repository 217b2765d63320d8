"""The engine over gRPC."""
