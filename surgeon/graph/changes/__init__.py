"""What other code did to a network since it was traced."""
