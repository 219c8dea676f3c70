"""What the methods' mathematics shares about tensors, with nothing about a method. Needs only torch."""
