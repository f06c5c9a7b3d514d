"""What the SQLite adapter is made of: schema, mutations as SQL, queries, and the thread that commits."""
