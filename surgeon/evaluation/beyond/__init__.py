"""Beyond attacks: certificates, corruptions, noise, shuffled patches, pictures."""
