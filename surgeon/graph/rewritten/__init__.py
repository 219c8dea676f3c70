"""The rewritten network: its class, its code, its graphs, and the tree that they stand on."""
