"""Where text is noised: vectors for tokens, and back."""
