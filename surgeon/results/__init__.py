"""What an evaluation found, as data: attacks by name, verdicts, rows, summaries, findings. No torch here; the report and the model card read it."""
