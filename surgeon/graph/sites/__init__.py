"""Sites: where an operation can cut, what is there, and what a survey tells of all of them."""
