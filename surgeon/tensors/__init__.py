"""What the methods' mathematics shares: ideas about tensors, none about a method. Depends on torch alone."""
