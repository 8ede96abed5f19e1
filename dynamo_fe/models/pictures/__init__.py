"""What a model makes of pictures, by its files."""
