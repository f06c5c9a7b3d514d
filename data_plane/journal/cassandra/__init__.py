"""What the Cassandra adapter is made of: its tables, and whose writes are sent next."""
