"""`millrace doctor`: looks at a whole installation and changes nothing that stays."""
