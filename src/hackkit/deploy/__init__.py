"""Put a project in front of the judges."""
