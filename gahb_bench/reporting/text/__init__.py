"""A report as text: Markdown, and a few lines for the terminal."""
