"""Node cells of the catalog, one file each: what a node of a tree makes of its children."""
