"""What the Cassandra adapter of the bundle store is made of: its tables, and how a bundle's bytes lie in them."""
