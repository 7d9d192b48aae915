"""`python -m recipes report`: runs beside one another, on a page, or kept ones as the table of recipes/README.md."""

import base64
import collections
import html
import itertools
import json
import math
import pathlib
import re
import statistics
import string

from recipes._core import files
from recipes._core.errors import RecipeError
from recipes._core.report.runs import Configuration, by_dataset, read, words

_NOT_KEPT = ("sample", "saved_model", "signatures", "labels")  # of a card, where git keeps it


def add_arguments(report, keep):
    report.add_argument("names", nargs="*", metavar="name", help="of a recipe; default: all")
    report.add_argument("--runs", type=files.path, default="runs", help="folder of all runs")
    report.add_argument("--output", type=files.path, default="report.html", help="the page to write")
    report.add_argument("--markdown", action="store_true", help="print the table of the kept cards instead")
    keep.add_argument("runs", nargs="+", type=files.path, metavar="run", help="folder of a finished run")
    for command in (report, keep):
        command.add_argument("--cards", type=files.path, default="saved_models", help="folder of all kept cards")


def report(arguments, trees):
    """Writes the page over all finished runs, or prints the table of the kept cards.

    Args:
        arguments: of the command line.
        trees: name of a recipe -> syntax tree of its page, for all recipes.

    Raises:
        RecipeError: there is nothing to show.
    """
    folder, pattern = (arguments.cards, "cards/*.json") if arguments.markdown else (arguments.runs, "*/config.json")
    wanted = [
        path for name in dict.fromkeys(arguments.names or "*") for path in sorted(folder.glob(f"{name}/{pattern}"))
    ]
    cards = wanted if arguments.markdown else [path.with_name("card.json") for path in wanted]
    unfinished = collections.Counter(path.parents[1].name for path in cards if not path.exists())
    runs = [run for path in cards if path.exists() and (run := read(path, trees))]
    if not runs:
        what = "the card of a kept run" if arguments.markdown else "a finished run"
        of = f" of {' or '.join(arguments.names)}" if arguments.names else ""
        found = f"{unfinished.total()} unfinished" if unfinished else "none"
        how = "keep RUN" if arguments.markdown else f"train {(arguments.names or ['RECIPE'])[0]}"
        raise RecipeError(f"Expected {what}{of} in {folder}, found {found}. To get one: python -m recipes {how}")
    if arguments.markdown:
        print(markdown(runs))
        return
    content = page(runs, unfinished, folder).encode("utf-8", "xmlcharrefreplace")
    arguments.output.write_bytes(content)
    print(f"{arguments.output} ({len(content) / 1e6:.1f} MB), {_counted(runs, unfinished)}")


def keep(arguments, trees):
    """Writes the cards of runs, without what is long, where git keeps them; one of like settings and seed is replaced.

    Raises:
        RecipeError: a folder is not that of a finished run.
    """
    runs = []
    for folder in arguments.runs:
        card = folder.resolve() / "card.json"
        if not card.exists() or card.parents[1].name not in trees or not (run := read(card, trees)):
            raise RecipeError(f"Expected the folder runs/<recipe>/<time> of a finished run, received {folder}.")
        runs.append(run)
    for run in runs:
        path = arguments.cards / run.recipe.name / "cards" / file_name(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: fact for name, fact in run.card.items() if name not in _NOT_KEPT}
        files.write(path, json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
        print(path)


def file_name(run):
    """Of a kept card: what differs from the recipe's defaults, and the seed, such as `cell-gru-seed-1.json`."""
    return re.sub(r"[^\w.]+", "-", "-".join([*run.changed("seed"), f"seed={run.seed}"])) + ".json"


def markdown(runs):
    """The table of recipes/README.md, a row for each configuration."""
    head = ["recipe", "data", "test figure", "beside it", "published", "parameters", "minutes on two cores"]
    rows = [head, ["---"] * len(head)]
    for same in itertools.chain.from_iterable(by_dataset(runs)):
        run, (mean, spread), minutes = same[0], same.figure(), f"{same.seconds / 60:.1f}"
        name = " ".join(f"`{part}`" for part in (run.recipe.name, *run.changed("dataset", "seed")))
        seeds = f"{len(same)} seeds" if len(same) > 1 else ""
        figure = f"{words(run.metric)} {mean}" + (f" ({', '.join(filter(None, (spread, seeds)))})" if seeds else "")
        beside = ", ".join(f"{words(other)} {same.figure(other)[0]}" for other in run.metrics if other != run.metric)
        published = " to ".join(f"{text} ({source})" for source, text in _ends(run.published))
        devices = _each(run.device for run in same)
        minutes += "" if devices == "CPU, 2 cores" else f" ({devices})"
        rows.append([name, run.dataset, figure, beside or "-", published or "-", f"{run.parameters:,}", minutes])
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _ends(published):
    """(source, text) of the lowest and the highest of published figures, or of the only one."""
    ordered = sorted((figure, source, text) for source, figure, text in published)
    return [(source, text) for _, source, text in ([ordered[0], ordered[-1]] if ordered[1:] else ordered)]


def page(runs, unfinished, folder):
    """The page over all runs, as a string.

    Args:
        runs: of any recipes.
        unfinished: name of a recipe -> how many more of its runs are not finished, a `Counter`.
        folder: that of all runs.
    """
    datasets = by_dataset(runs)
    recipes = itertools.groupby(datasets, key=lambda configurations: configurations[0][0].recipe)
    sections = [_section(recipe, list(group), unfinished[recipe.name]) for recipe, group in recipes]
    template = string.Template(pathlib.Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
    return template.substitute(
        about=_escape(f"{_counted(runs, unfinished)}, in {folder}. The newest is of {max(r.time for r in runs)}."),
        overview="\n".join(map(_overview, datasets)),
        sections="\n".join(sections),
    )


def _counted(runs, unfinished):
    counts = {"run": len(runs), "recipe": len({run.recipe.name for run in runs})}
    text = " of ".join(f"{count} {what}{'s' * (count != 1)}" for what, count in counts.items())
    return text + (f", {unfinished.total()} more unfinished" if unfinished else "")


def _escape(text):
    return html.escape(str(text))


def _codes(texts):
    return " ".join(f"<code>{_escape(text)}</code>" for text in texts)


def _overview(configurations):
    """A row of the first table: the default configuration, or, where it was not run, the nearest to it."""
    runs = configurations[0]
    run, (mean, spread) = runs[0], runs.figure()
    name = _escape(run.recipe.name)
    cells = {
        "data": _escape(run.dataset),
        "test figure": f"{_escape(words(run.metric))} <strong>{mean}</strong> <small>{spread}</small> "
        f"<small>{_codes(run.changed('dataset', 'seed'))}</small>",
        "published": " to ".join(f"{text} <small>{_escape(source)}</small>" for source, text in _ends(run.published)),
        "minutes": f"{runs.seconds / 60:.1f} <small class=keep>{_escape(run.device)}</small>",
        "runs": sum(map(len, configurations)),
    }
    cells = "".join(f'<td data-head="{head}"><div>{cell}</div></td>' for head, cell in cells.items())
    return f'<tr><th scope=row><a href="#{name}">{name}</a></th>{cells}</tr>'


def _section(recipe, datasets, unfinished):
    first_line, _, rest = recipe.text.partition("\n")
    parts = [f'<section id="{_escape(recipe.name)}"><h2>{_escape(recipe.name)}</h2><p>{_escape(first_line)}</p>']
    if unfinished:
        parts.append(f"<p class=soft>{unfinished} more unfinished; <code>--resume</code> goes on with the newest.</p>")
    if rest:
        parts.append(f"<details><summary>What its page says</summary><pre>{_escape(rest.strip())}</pre></details>")
    for configurations in datasets:
        run = configurations[0][0]
        parts.append(f"<h3>{_escape(words(run.metric).capitalize())} on {_escape(run.dataset)}</h3>")
        parts += [_figure(configurations), _table(configurations)]
        runs = sorted(itertools.chain.from_iterable(configurations), key=lambda run: run.path, reverse=True)
        parts.append(f"<h3>{'Runs, the newest first' if runs[1:] else 'The run'}</h3>")
        parts += [_details(run, "open" if run is runs[0] else "") for run in runs]
    return "\n".join([*parts, "</section>"])


class _Axis:
    """A scale over some values, with round ticks, of which the first and the last are its ends."""

    def __init__(self, values):
        values = [value for value in values if math.isfinite(value)] or [0.0]
        margin = 0.0 if len(set(values)) > 1 else 0.1 * abs(values[0]) or 1.0
        low, high = min(values) - margin, max(values) + margin
        power = 10.0 ** math.floor(math.log10((high - low) / 4))
        step = next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= (high - low) / 4)
        first, last = math.floor(round(low / step, 6)), math.ceil(round(high / step, 6))
        self.ticks = [n * step for n in range(first, last + 1)]
        self.low, self.high = self.ticks[0], self.ticks[-1]

    def x(self, value):
        """The place of a value; of one beyond the scale, its end."""
        value = min(max(value, self.low), self.high)
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"

    def numbers(self, share):
        scale, unit = (100, "%") if share else (1, "")
        texts = (f'<text x="{self.x(tick)}" y="1em">{scale * tick:.6g}{unit}</text>' for tick in self.ticks)
        return f"<svg class=numbers aria-hidden=true>{''.join(texts)}</svg>"

    def strip(self, kind, values):
        """A dot for each value and a mark at their mean; an arrow at the end of the scale, where some lie beyond it."""
        parts = [f'<line class=tick x1="{self.x(tick)}" x2="{self.x(tick)}" y2="100%"/>' for tick in self.ticks]
        values = [value for value in values if math.isfinite(value)]
        marks = []
        if values and min(values) < self.low:
            marks.append((self.low, "M9-6 1 0 9 6z"))
        if values and max(values) > self.high:
            marks.append((self.high, "M-9-6-1 0-9 6z"))
        inside = [value for value in values if self.low <= value <= self.high]
        if inside and len(set(values)) > 1:
            ends = f'x1="{self.x(min(values))}" x2="{self.x(max(values))}"'
            parts.append(f'<line class=range {ends} y1="50%" y2="50%"/>')
            parts += [f'<circle class=seed cx="{self.x(value)}" cy="50%" r="3"/>' for value in inside]
        mean = statistics.fmean(values or [0.0])
        if inside and self.low <= mean <= self.high:
            shape = "M0-6 6 0 0 6-6 0z" if kind == "published" else "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z"
            marks.append((mean, shape))
        parts += [f'<svg x="{self.x(at)}" y="50%"><path class=mark d="{shape}"/></svg>' for at, shape in marks]
        return f"<svg class={kind} aria-hidden=true>{''.join(parts)}</svg>"


def _figure(configurations):
    """Each cell under the default settings, or those nearest to them, on one scale with what else is known."""
    run, share = configurations[0][0], configurations[0][0].is_share()
    shown = [runs for runs in configurations if runs[0].settings == run.settings]
    others = [name for name in run.metrics if name != run.metric and run.is_share(name) == share]
    everything = Configuration(itertools.chain.from_iterable(shown))
    ours = [(runs[0].cell, runs.values(), *runs.figure()) for runs in shown]
    beside = [(words(name), everything.values(name), *everything.figure(name)) for name in others]
    published = [(source, [figure], text, "") for source, figure, text in run.published]
    # The scale leaves out what is far off, such as a guess, or else ours and the published figures fall into one.
    scale = [value for _, values, *_ in ours + published for value in values if math.isfinite(value)] or [0.0]
    ends = min(scale), max(scale)
    scale += min(
        (values for _, values, *_ in beside), key=lambda v: max(ends[0] - min(v), max(v) - ends[1]), default=[]
    )
    axis, parts = _Axis(scale), []
    heads = {
        "ours": _codes(run.settings) or "default settings",
        "beside": "measured beside it",
        "published": "published",
    }
    for (kind, head), rows in zip(heads.items(), (ours, beside, published), strict=True):
        items = (
            f"<li><span>{_escape(label)}</span>{axis.strip(kind, values)}"
            f"<span class=value><strong>{mean}</strong> <small>{spread}</small></span></li>"
            for label, values, mean, spread in rows
        )
        parts.append(f"<h4>{head}</h4><ul role=list>{''.join(items)}</ul>" if rows else "")
    return f"<div class=strips>{''.join(parts)}<div class=foot>{axis.numbers(share)}</div></div>"


def _table(configurations):
    """A row for each configuration; those that differ in the cell alone stand under one head."""
    first = configurations[0][0]
    axis = _Axis([value for runs in configurations for value in runs.values()])
    rows = []
    for settings, group in itertools.groupby(configurations, key=lambda runs: runs[0].settings):
        rows.append(f"<tr><th class=group colspan=9 scope=rowgroup>{_codes(settings) or 'default settings'}</th></tr>")
        for runs in group:
            mean, spread = runs.figure()
            facts = [
                ", ".join(str(run.seed) for run in runs),
                _each(f"{run.parameters:,}" for run in runs),
                f"{runs.seconds:,.0f}",
                _each(run.device for run in runs),
                _each(run.time[:10] for run in runs),
                _each(run.commit for run in runs),
            ]
            rows.append(
                f"<tr><th scope=row>{_escape(runs[0].cell)}</th>"
                f"<td class=track>{axis.strip('ours', runs.values())}</td>"
                f"<td><strong>{mean}</strong> <small>{spread}</small></td>"
                f"{''.join(f'<td>{_escape(fact)}</td>' for fact in facts)}</tr>"
            )
    heads = [words(first.metric), "seeds", "parameters", "seconds", "device", "trained", "commit"]
    return (
        f'<div class=scroll role=region tabindex=0 aria-label="Configurations on {_escape(first.dataset)}">'
        f"<table class=configurations><thead><tr><th scope=col>cell</th>"
        f'<th scope=col class=track aria-label="range">{axis.numbers(first.is_share())}</th>'
        f"{''.join(f'<th scope=col>{_escape(head)}</th>' for head in heads)}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _each(texts):
    return "; ".join(dict.fromkeys(texts))


def _details(run, state):
    """Pictures, texts, figures and settings of a run, to fold away."""
    folder, title = run.path.parent, f"{run.cell}, seed {run.seed}"
    pictures = sorted(folder.glob("*.png"), key=lambda path: (path.stem != "curves", path.stem))
    shown = [_picture(path, title) for path in pictures]
    for path in sorted(folder.glob("*.txt")):
        text = _escape(path.read_text(encoding="utf-8", errors="replace"))
        shown.append(f"<figure class=text><pre tabindex=0>{text}</pre>{_caption(path)}</figure>")
    figures = {words(name): Configuration([run]).figure(name)[0] for name in run.metrics}
    facts = {"folder": folder, "parameters": f"{run.parameters:,}", "seconds": run.seconds, "device": run.device}
    facts |= {"precision": run.card.get("precision"), "commit": run.card.get("commit")}
    facts |= {"data": " ".join(str(fact) for fact in run.data.values() if fact)} | run.versions
    return (
        f"<details {state}><summary>{_escape(run.time)} <strong>{figures[words(run.metric)]}</strong> "
        f"{_escape(title)} {_codes(run.settings)}</summary>{_list(figures)}"
        f"<div class=pictures>{''.join(shown)}</div><details><summary>Settings and versions</summary>"
        f"{_list(run.config)}{_list(facts)}</details></details>"
    )


def _picture(path, title):
    content = path.read_bytes()
    width, height = (int.from_bytes(content[start : start + 4], "big") for start in (16, 20))  # as a PNG has them
    name = _escape(words(path.stem).capitalize())
    return (
        f'<figure><div class=picture role=region tabindex=0 aria-label="{name}">'
        f'<img src="data:image/png;base64,{base64.b64encode(content).decode()}" alt="{name}: {_escape(title)}" '
        f'width="{width * 3 // 4}" height="{height * 3 // 4}" style="min-width: {width * 4 // 9}px"></div>'
        f"{_caption(path)}</figure>"
    )


def _caption(path):
    return f"<figcaption>{_escape(words(path.stem).capitalize())}</figcaption>"


def _list(facts):
    items = (f"<div><dt>{_escape(words(name))}</dt><dd>{_escape(fact)}</dd></div>" for name, fact in facts.items())
    return f"<dl>{''.join(items)}</dl>"
