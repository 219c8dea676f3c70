"""Attacks made from a surgery's record: what the attacker who knows the cut would do, and what the cut adds."""
