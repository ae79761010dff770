"""Sets of images as files: dataset cards, and exports."""
