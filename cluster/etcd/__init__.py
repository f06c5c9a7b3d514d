"""How etcd is spoken to: what `cluster.store_etcd` stands on."""
