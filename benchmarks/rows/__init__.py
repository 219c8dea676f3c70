"""What is measured, one subject a file: each has `measure(asked)`, which gives lines of the table."""
