"""What the documentation site is made with beside its pages: pages written from the code, and diagrams
without a foreign server."""
