"""Store networks in folders: save, load, check, download from the Hugging Face Hub, and export."""
