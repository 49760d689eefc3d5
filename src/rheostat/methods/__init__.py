"""Methods, one paper a file, one folder a seam; the folder is the registry."""
