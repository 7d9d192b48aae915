"""NumPy transcriptions of the papers of node cells, one file per cell, written from the paper and importing numpy only.

Each file `<catalog name>.py` has

- `step(weights, x, children, present, **arguments) -> states`: nodes whose children are done, in float64.
  `weights` maps a cell's weight names to arrays. `x` has shape (batch, features), zeros where a node has no input.
  `children` is a tuple of arrays (batch, arity, size), one for each state, in the cell's order with h first.
  `present`, booleans (batch, arity), tells which children there are; what stands in place of the others counts for
  nothing. The states of the nodes come back, a tuple of arrays (batch, size).
- `tree(weights, x, children, **arguments) -> states`: all nodes of a tree, or of several, one after the other.
  `x` has shape (nodes, features), `children` holds a list for each node: its children, each smaller than the node.
- `CASES`, optional: the cell's constructor arguments under which it is compared, each a dict that `step` and `tree`
  also receive as keywords. Default: `[{}]`, the cell as it comes.
"""
