"""What lies on a disk: files that appear whole or not at all, their hashes and hidden names, weights in files, kinds of folder."""
