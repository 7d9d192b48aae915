"""Words of the Penn Treebank, as Mikolov prepared them."""
