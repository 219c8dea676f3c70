"""Files on disk: atomic writes, hashes, hidden names, weights, and kinds of folder."""
