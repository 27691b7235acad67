"""Runs side by side: what is asked (`asked`) and measured (`measure`), and how it is shown (`tables`, `page`)."""
