"""The cells of the catalog, one file each; a file dropped here is in the catalog."""
