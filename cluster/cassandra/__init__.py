"""What the adapters for Cassandra share: one session a process, spoken to from an event loop, and its schema."""
