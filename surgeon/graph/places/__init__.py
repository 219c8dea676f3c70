"""What a graph calls, and how layers get between its calls."""
