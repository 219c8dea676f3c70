"""A network made public: its model card, and the way to the Hugging Face Hub."""
