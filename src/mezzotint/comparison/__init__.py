"""Runs side by side: the request (`request`), the measurement (`measure`), and its display (`tables`, `page`)."""
