"""What datasets hold, in numbers, pictures and one page."""
