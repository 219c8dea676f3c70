"""Trees of modules and what hangs on them: names, memory, random streams, hooks, copies. No graph."""
