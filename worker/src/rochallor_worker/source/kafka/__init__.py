"""Jobs from Kafka."""
