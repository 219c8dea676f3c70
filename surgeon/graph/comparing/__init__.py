"""A network's code and its graphs side by side."""
