"""One foreign thing per file, its errors translated there."""
