"""`python -m archs [PATTERN]`: the catalog as a table."""

import argparse
import sys

import archs
from archs._core import registry


def rows(entries):
    """For each entry: name, year, states, gates, parameters at d = n = 128, summary, paper."""
    for entry in entries:
        facts = [entry.name, str(entry.year)]
        if entry.kind == "cell":
            cell = entry.target(128)
            cell.build((None, 128))
            facts += [" ".join(cell.states), " ".join(cell.gates) or "-", f"{cell.count_params():,}"]
        yield [*facts, entry.summary, entry.paper]


def table(head, lines):
    """Columns under their heads, as wide as they need to be."""
    lines = [head, *lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m archs", description="The catalog of cells and architectures.")
    parser.add_argument("pattern", nargs="?", default="*", help="a shell pattern, such as 'lstm*'")
    pattern = parser.parse_args(argv).pattern
    cells, factories = registry.entries("cell", pattern), registry.entries("arch", pattern)
    if not cells and not factories:
        names = archs.list_cells() + archs.list_archs()
        print(f"Nothing in the catalog matches {pattern!r}. {registry.nearest(pattern, names)}", file=sys.stderr)
        return 2
    tables = []
    if cells:
        head = ["cell", "year", "states", "gates", "parameters", "", "paper"]
        tables.append(table(head, rows(cells)) + "\n(parameters at 128 features and 128 units)")
    if factories:
        tables.append(table(["architecture", "year", "", "paper"], rows(factories)))
    print("\n\n".join(tables))
    return 0


if __name__ == "__main__":
    sys.exit(main())
