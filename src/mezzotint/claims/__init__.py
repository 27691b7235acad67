"""What Mezzotint says of itself and anybody can check: the figures (`table`), and how they are found (`measure`)."""
