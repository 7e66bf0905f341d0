"""Writers of tiny datasets in the exact layouts of the public ones."""
