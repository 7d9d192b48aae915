"""`python -m archs [PATTERN]`: the catalog as tables; `python -m archs show NAME`: the page of one of its members."""

import argparse
import inspect
import re
import sys

import archs
from archs._core import registry
from archs._core.names import nearest
from archs._core.recurrent import loop_of

_HEADS = {
    "cell": ["cell", "year", "states", "gates", "parameters", "time loop", "", "paper"],
    "node": ["node", "year", "states", "gates", "parameters", "", "paper"],
    "arch": ["architecture", "year", "", "paper"],
}


def rows(entries):
    """For each entry: name, year, for cells states, gates, parameters at d = n = 128 and time loop, summary, paper.

    For nodes as for cells, but for the time loop.
    """
    for entry in entries:
        facts = [entry.name, str(entry.year)]
        if entry.kind != "arch":
            cell = entry.target(128)
            cell.build((None, 128))
            facts += [" ".join(cell.states), " ".join(cell.gates) or "-", f"{cell.count_params():,}"]
        if entry.kind == "cell":
            facts.append(loop_of(cell))
        yield [*facts, entry.summary, entry.paper]


def tables(pattern="*"):
    """For each kind that has entries matching a shell pattern: the kind, its head and its rows, cells first."""
    for kind, head in _HEADS.items():
        lines = list(rows(registry.entries(kind, pattern)))
        if lines:
            yield kind, head, lines


def plain(head, lines):
    """Columns under their heads, as wide as they need to be."""
    lines = [head, *lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    note = "\n(parameters at 128 features and 128 units)" if "parameters" in head else ""
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines) + note


def markdown(pattern="*"):
    """The tables in Markdown, each paper with its link, as archs/README.md has them."""
    parts = []
    for kind, head, lines in tables(pattern):
        urls = {entry.name: entry.url for entry in registry.entries(kind)}
        head = [column.replace("parameters", "parameters at d = n = 128") for column in head]
        lines = [[f"`{name}`", *facts, f"[{paper}]({urls[name]})"] for name, *facts, paper in lines]
        table = [head, ["---"] * len(head), *lines]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in table))
    return "\n\n".join(parts)


def page(name):
    """The docstring of a member of the catalog, its equations readable in a terminal, under its name and source.

    Of a cell and an architecture of one name: both, the cell first.
    """
    found = [e for e in registry.entries() if e.name == name] or [registry.entry(name)]
    found = sorted(found, key=lambda entry: list(_HEADS).index(entry.kind))
    titles = [f"{e.name}: archs.{e.target.__name__}\n{e.paper}, {e.url}\n\n" for e in found]
    return "\n\n".join(t + readable(inspect.getdoc(e.target)) for t, e in zip(titles, found, strict=True))


_SYMBOLS = {
    **{"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "theta": "θ", "lambda": "λ"},  # noqa: RUF001
    **{"mu": "μ", "phi": "φ", "sigma": "σ", "tau": "τ", "Phi": "Φ", "propto": "∝"},  # noqa: RUF001
    **{"odot": "*", "bmod": "mod", "le": "<=", "leq": "<=", "quad": " ", "qquad": " ", "top": "T"},
}


def readable(text):
    """LaTeX as plain text: Greek letters, h[t-1] for an index, h~ and h^ for accents, / for a fraction."""
    text = re.sub(r"\$\$\n(.*?)\$\$", lambda match: _plain_equations(match[1]), text, flags=re.DOTALL)
    return re.sub(r"\$([^$]+)\$", lambda match: " ".join(_plain_tex(match[1]).split()), text)


def _plain_equations(tex):
    """Equations between `$$`, one a line."""
    tex = re.sub(r"\\(begin|end)\{aligned\}", "", tex)
    lines = (" ".join(line.replace("&", " ").split()) for line in _plain_tex(tex).split("\\\\"))
    return "\n".join("    " + line for line in lines if line)


def _plain_tex(tex):
    tex = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1) / (\2)", tex)
    tex = re.sub(r"\\tilde ?(\\[a-z]+|\w)", r"\1~", tex)
    tex = re.sub(r"\\hat ?(\\[a-z]+|\w)", r"\1^", tex)
    tex = re.sub(r"\\(?:text|mathrm)\{([^{}]*)\}", r" \1 ", tex)
    tex = re.sub(r"\\([A-Za-z]+)", lambda name: _SYMBOLS.get(name[1], name[1]), tex)
    tex = re.sub(r"_\{([^{}]*[-,][^{}]*)\}", r"[\1]", tex)
    tex = re.sub(r"\^\{([^{}]*-[^{}]*)\}", r"^(\1)", tex)
    return re.sub(r"([_^])\{([^{}]*)\}", r"\1\2", tex)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m archs",
        description="The catalog of cells, nodes and architectures.",
        usage="%(prog)s [--markdown] [PATTERN]\n       %(prog)s show NAME",
    )
    parser.add_argument("pattern", nargs="?", default="*", metavar="PATTERN", help="a shell pattern, such as 'lstm*'")
    parser.add_argument("name", nargs="?", metavar="NAME", help="after `show`: whose page to print")
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    arguments = parser.parse_args(argv)
    if (arguments.pattern == "show") != (arguments.name is not None):
        parser.error("expected a pattern, or `show` and a name")
    if arguments.name:
        try:
            print(page(arguments.name))
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    found = list(tables(arguments.pattern))
    if not found:
        names = archs.list_cells() + archs.list_nodes() + archs.list_archs()
        hint = nearest(arguments.pattern, names)
        print(f"Nothing in the catalog matches {arguments.pattern!r}. {hint}", file=sys.stderr)
        return 2
    print(markdown(arguments.pattern) if arguments.markdown else "\n\n".join(plain(*table) for _, *table in found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
