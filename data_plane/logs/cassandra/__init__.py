"""What the Cassandra adapter of the log store is made of: its tables, its cells, and what it knows of its tenants."""
