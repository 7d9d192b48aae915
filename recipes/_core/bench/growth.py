"""`recipes bench --growth`: a training step while time, batch and units double, one at a time."""

from recipes._core.bench.session import figures

GROWTH = (32, 50, 128, 128)
DOUBLINGS = {"time": 6, "batch": 3, "units": 3}


def measure(session, cell):
    """Rows of a training step while time, batch and units double, one at a time."""
    for axis, doublings in DOUBLINGS.items():
        position = ("batch", "time", "features", "units").index(axis)
        for doubling in range(doublings + 1):
            size = list(GROWTH)
            size[position] *= 2**doubling
            opened, row = {}, {"cell": cell, "axis": axis, "size": size}
            subject = {"implementation": "archs", "cell": cell, "size": size, "phase": "train", "mode": "XLA"}
            session.open(opened, (axis,), "tensorflow", subject)
            times, ((_, _, answer),) = session.times(opened), opened.values()
            if "error" in answer:
                row["error"] = answer["error"]
            else:
                row |= figures(times[axis,]) | {key: answer[key] for key in ("compile_s", "graph_nodes")}
            session.rows.append(row)
            yield row


def show(session, cells):
    """Measures and prints."""
    head = f"{'size B,T,D,U':<20} {'ms':>9} {'to the last':>12} {'ms a time step':>15} {'compile s':>10} {'nodes':>6}"
    for cell in cells:
        axis, before = None, None
        for row in measure(session, cell):
            if row["axis"] != axis:
                axis, before = row["axis"], None
                print(f"\ntraining step of {cell}, XLA, as {axis} grows\n{head}")
            size = ",".join(map(str, row["size"]))
            if "error" in row:
                print(f"{size:<20} {row['error']}")
                continue
            grown = "" if before is None else f"{row['ms'] / before:.2f}"
            print(
                f"{size:<20} {row['ms']:>9.2f} {grown:>12} {row['ms'] / row['size'][1]:>15.4f} "
                f"{row['compile_s']:>10.1f} {row['graph_nodes']:>6}",
                flush=True,
            )
            before = row["ms"]
