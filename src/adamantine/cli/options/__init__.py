"""Options of several commands, and whether what they ask for is possible."""
