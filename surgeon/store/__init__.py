"""A network as a folder: written, read, checked, described by its card, pushed and pulled, exported."""
