"""What several commands print, draw and write."""
