"""NumPy transcriptions of the papers, one file per cell, written from the paper and importing numpy only.

Each file `<catalog name>.py` has

- `step(weights, x, states, **arguments) -> states`: one time step in float64.
  `weights` maps a cell's weight names to arrays, `x` has shape (batch, features), `states` is a tuple of
  arrays (batch, size) in the cell's order with the output h first; the new states come back in the same order.
- `CASES`, optional: the cell's constructor arguments under which it is compared, each a dict that `step` also
  receives as keywords. Default: `[{}]`, the cell as it comes. Every other test of the cell runs with the first.
- `FIXED`, optional: set of the squashing functions, by the names of TensorFlow's operations, that the paper fixes: no
  argument of the cell changes them.
"""
