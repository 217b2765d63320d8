"""What people ask of an engine through its calls: instances, failures, retries. No terminal here."""
