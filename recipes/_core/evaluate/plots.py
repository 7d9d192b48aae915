"""Pictures of a training, as PNG, and what moves as GIF."""

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw

_NAMED = 60  # classes that have room for their names


def curves(history, path):
    """Draws each metric over the epochs, training and validation in one panel.

    Args:
        history: list of dicts, one per epoch, with the metrics of the validation under `val_<name>`.
        path: of the PNG.
    """
    names = [name.removeprefix("val_") for name in history[0] if name.startswith("val_")]
    epochs = [row["epoch"] for row in history]
    figure, panels = _figure(len(names), width=5.2, height=3.6)
    for panel, name in zip(panels, names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            values = [row[key] for row in history]
            panel.plot(epochs, values, marker="o", markersize=3, label=f"{label}, last {values[-1]:.3g}")
        panel.set_title(name)
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if not history[1:]:
            panel.set_xlim(epochs[0] - 0.5, epochs[0] + 0.5)
        panel.grid(alpha=0.3)
        panel.legend(frameon=False)
    _save(figure, path)


def confusion_matrix(truth, answers, labels, path):
    """Draws how often each class (row) was answered as each class (column); of many classes, without their names.

    Args:
        truth, answers: int arrays (examples,) of class numbers.
        labels: names of the classes.
        path: of the PNG.
    """
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(counts, (truth, answers), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    title = f"{(truth == answers).mean():.2%} of {len(truth):,} right"
    names = [name if len(name) <= 30 else f"{name[:29]}\N{HORIZONTAL ELLIPSIS}" for name in labels]
    names = names if len(names) <= _NAMED else []
    longest = max(map(len, names), default=0)
    size = 1.6 + 0.5 * (len(names) or 16) + 0.085 * longest
    figure, (panel,) = _figure(1, width=max(size, 0.3 + 0.1 * len(title)), height=size)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True) if names else ():
        colour = "white" if shares[row, column] > 0.5 else "black"
        panel.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
    panel.set_xticks(range(len(names)), names, rotation=0 if longest < 3 else 90, parse_math=False)
    panel.set_yticks(range(len(names)), names, parse_math=False)
    panel.set_xlabel("answered")
    panel.set_ylabel("is")
    figure.suptitle(title)  # not of the panel, which a few classes make narrower than this
    _save(figure, path)


def coloured_text(text, answers, truth, colours, path, lines=54):
    """Draws the beginning of a text in the colours of its answered classes; what is wrong is underlined in red.

    Args:
        text: of any number of lines.
        answers, truth: str arrays with a class for each character.
        colours: dict of class to colour.
        path: of the PNG.
        lines: how many to draw.
    """
    rows = text.split("\n")[:lines]
    meanings = {colour: ", ".join(name for name in colours if colours[name] == colour) for colour in colours.values()}
    width = max(*map(len, rows), sum(len(names) + 3 for names in meanings.values()))
    size = 8  # points; a character of this font is 0.602 of them wide
    figure = Figure(figsize=((width + 4) * 0.602 * size / 72, (len(rows) + 7) * 1.35 * size / 72))
    FigureCanvasAgg(figure)
    panel = figure.add_axes((0, 0, 1, 1), xlim=(-2, width + 2), ylim=(len(rows) + 4, -3))
    panel.set_axis_off()
    font, start = {"family": "DejaVu Sans Mono", "size": size, "va": "baseline"}, 0
    for number, row in enumerate(rows):
        classes, right = (values[start : start + len(row)] for values in (answers, truth))
        edges = [0, *(np.flatnonzero(classes[1:] != classes[:-1]) + 1), len(row)] if row else []
        for left, end in itertools.pairwise(edges):
            # A dollar sign would begin a formula.
            panel.text(left, number, row[left:end], color=colours[classes[left]], parse_math=False, **font)
        for column in np.flatnonzero(classes != right):
            panel.plot([column, column + 1], [number + 0.25] * 2, color="red", linewidth=1.5, solid_capstyle="butt")
        start += len(row) + 1
    column = 0
    for colour, names in meanings.items():
        panel.text(column, len(rows) + 2, names, color=colour, **font)
        column += len(names) + 3
    share = np.mean(answers[:start] == truth[:start])
    panel.text(0, -1.5, f"{share:.2%} of {min(start, len(text)):,} characters right", **font)
    _save(figure, path)


def surprise(text, bits, path, lines=36, width=100):
    """Draws the beginning of a text, each character on the darker ground the more bits it costs.

    Args:
        text: of any number of lines.
        bits: array with a cost for each character.
        path: of the PNG.
        lines: how many to draw.
        width: where longer lines are broken.
    """
    rows, start = [], 0
    for line in text.splitlines(keepends=True):
        for left in range(0, len(line), width):
            part = line[left : left + width]
            rows.append((part.rstrip("\n"), np.asarray(bits[start : start + len(part)])))
            start += len(part)
    rows = rows[:lines]
    width = max(80, *(len(costs) for _, costs in rows))  # room for the legend
    grid = np.full((len(rows), width), np.nan)
    size = 8  # points; a character of this font is 0.602 of them wide
    height = 1.35 * size / 72
    figure = Figure(figsize=((width + 4) * 0.602 * size / 72, (len(rows) + 5) * height))
    FigureCanvasAgg(figure)
    panel = figure.add_axes((0, 0, 1, 1), xlim=(-2, width + 2), ylim=(len(rows) + 0.5, -4.5))
    panel.set_axis_off()
    font = {"family": "DejaVu Sans Mono", "size": size, "va": "center"}
    for number, (row, costs) in enumerate(rows):
        grid[number, : len(costs)] = costs
        panel.text(0, number, row, parse_math=False, **font)
    scale = {"cmap": "YlOrRd", "vmin": 0, "vmax": 14, "alpha": 0.8, "interpolation": "nearest", "aspect": "auto"}
    panel.imshow(grid, extent=(0, width, len(rows) - 0.5, -0.5), **scale)
    panel.imshow(np.arange(9)[None], extent=(0, 36, -2.1, -3.1), **scale)
    for cost in range(9):
        panel.text(4 * cost + 2, -2.6, cost, ha="center", **font)
    panel.text(38, -2.6, f"bits for a character; {np.mean(bits[:start]):.2f} on average", **font)
    _save(figure, path)


def piano_rolls(rolls, known, path):
    """Draws piano rolls beside each other.

    Args:
        rolls: dict of title to array (frames, 88) of 0 and 1.
        known: how many first frames to draw lighter.
        path: of the PNG.
    """
    keys = np.flatnonzero(np.any([roll.any(axis=0) for roll in rolls.values()], axis=0))
    figure, panels = _figure(len(rolls), width=6.4, height=3.6)
    for panel, (title, roll) in zip(panels, rolls.items(), strict=True):
        shades = np.where(np.arange(len(roll))[:, None] < known, 0.45, 1) * roll
        panel.imshow(shades.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", origin="lower", interpolation="nearest")
        panel.axvline(known - 0.5, color="black", linewidth=0.8, alpha=0.5)
        panel.set_yticks(range(3, 88, 12), [f"C{octave}" for octave in range(1, 9)])
        panel.set_ylim(keys.min() - 1.5, keys.max() + 1.5)
        panel.grid(axis="y", alpha=0.3)
        panel.set_xlabel("frame")
        panel.set_title(title)
    _save(figure, path)


def fan(times, truth, quantiles, levels, title, path):
    """Draws forecasts, one after another, and what came.

    Args:
        times: array (forecasts, steps) of places on the axis of time.
        truth: array (forecasts, steps).
        quantiles: array (forecasts, steps, levels), of which the outer two belong together, then the next two, and so
            on to the median.
        levels: of the quantiles, ascending.
        title: of the picture.
        path: of the PNG.
    """
    figure, (panel,) = _figure(1, width=11, height=3.8)
    pairs = [(number, -1 - number) for number in range(len(levels) // 2)]
    for number, (places, forecast) in enumerate(zip(times, quantiles, strict=True)):
        for pair, (low, high) in enumerate(pairs):
            name = None if number else f"{100 * (levels[high] - levels[low]):.0f} % interval"
            look = {"color": "C0", "alpha": 0.2 + 0.15 * pair, "linewidth": 0, "label": name}
            panel.fill_between(places, forecast[:, low], forecast[:, high], **look)
        panel.plot(places, forecast[:, len(pairs)], color="C0", linewidth=1.5, label=None if number else "median")
    panel.plot(times.ravel(), truth.ravel(), color="black", linewidth=0.8, label="observed")
    panel.set_xlim(times[0, 0], times[-1, -1])
    low, high = min(truth.min(), quantiles.min()), max(truth.max(), quantiles.max())
    low = 0 if 0 <= low < 0.2 * high else low
    panel.set_ylim(low, high + 0.2 * (high - low))
    panel.set_title(title)
    panel.grid(alpha=0.3)
    panel.legend(frameon=False, ncols=len(pairs) + 2, loc="upper center")
    _save(figure, path)


def spectrograms(frames, seconds, path):
    """Draws spectrograms, five in a row.

    Args:
        frames: dict of title to array (frames, bands), the lowest band first.
        seconds: from frame to frame.
        path: of the PNG.
    """
    figure = Figure(figsize=(13, 2.4 * -(-len(frames) // 5)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(-(-len(frames) // 5), 5, squeeze=False, sharex=True, sharey=True)
    for panel, (title, values) in zip(panels.ravel(), frames.items(), strict=False):
        edges = (0, len(values) * seconds, 0, values.shape[1])
        panel.imshow(values.T, cmap="magma", aspect="auto", origin="lower", extent=edges)
        panel.set_title(title, fontsize=10)
    longest = max(map(len, frames.values())) * seconds
    for panel in panels.ravel():
        panel.set_xlim(0, longest)
    for panel in panels[-1]:
        panel.set_xlabel("seconds")
    for panel in panels[:, 0]:
        panel.set_ylabel("mel band")
    _save(figure, path)


def surprises(words, log_probabilities, path):
    """Draws how hard each word of a text was to tell, in bits.

    Args:
        words: str array (words,).
        log_probabilities: float array (words,), natural logarithms.
        path: of the PNG.
    """
    figure, (panel,) = _figure(1, width=1 + 0.19 * len(words), height=3.4)
    bits = -np.asarray(log_probabilities) / np.log(2)
    panel.bar(range(len(words)), bits, width=0.8)
    panel.set_xticks(range(len(words)), words, rotation=90, fontsize=9, parse_math=False)
    panel.set_xlim(-0.7, len(words) - 0.3)
    panel.set_ylabel("bits")
    panel.grid(axis="y", alpha=0.3)
    panel.set_axisbelow(True)
    panel.set_title(f"the first {len(words)} words of the test text, {bits.mean():.2f} bits each")
    _save(figure, path)


def clips(clips, titles, right, path):
    """Draws clips below each other, each as a row of its frames.

    Args:
        clips: uint8 array (clips, frames, height, width).
        titles: of the clips; that of a clip that is not `right`, an array of bools, is red.
        path: of the PNG.
    """
    count, frames, height, width = clips.shape
    figure = Figure(figsize=(frames * 0.95 * width / height, count * 1.25), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(count, squeeze=False)[:, 0]
    for panel, clip, title, is_right in zip(panels, clips, titles, right, strict=True):
        lined = np.pad(clip, ((0, 0), (0, 0), (1, 1)), constant_values=255)  # a line between frames
        panel.imshow(np.concatenate(lined, axis=1), cmap="gray", vmin=0, vmax=255)
        panel.set_title(title, fontsize=10, loc="left", color="black" if is_right else "red")
        panel.set_axis_off()
    _save(figure, path)


def tracks(arrays, path):
    """Draws arrays below each other, time to the right.

    Args:
        arrays: dict of title to array (time, rows) of numbers, all of as many time steps; drawn from 0 to 1, or from
            the lowest to the highest where they are others.
        path: of the PNG.
    """
    time = max(map(len, arrays.values()))
    heights = [max(0.5, min(2.6, 0.11 * array.shape[1])) for array in arrays.values()]
    figure = Figure(
        figsize=(max(5.0, min(14.0, 1 + 0.11 * time)), sum(heights) + 0.45 * len(heights)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(arrays), squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    for panel, (title, array) in zip(panels, arrays.items(), strict=True):
        low, high = min(0.0, array.min()), max(1.0, array.max())
        panel.imshow(array.T, cmap="Greys", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        panel.set_title(title, fontsize=10, loc="left")
        panel.set_yticks([])
    panels[-1].set_xlabel("time step")
    _save(figure, path)


def attention(panels, path):
    """Draws which tokens that were read (columns) each token that was written (row) looked at.

    Args:
        panels: list of the tokens read, the tokens written, and the weights (written, read).
        path: of the PNG.
    """
    widths = [0.7 + 0.1 * max(map(len, written), default=0) + 0.22 * len(read) for read, written, _ in panels]
    height = max(0.5 + 0.09 * max(map(len, read)) + 0.24 * len(written) for read, written, _ in panels)
    figure = Figure(figsize=(sum(widths), height), layout="constrained")
    FigureCanvasAgg(figure)
    row = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    for panel, (read, written, weights) in zip(row, panels, strict=True):
        if written:
            panel.imshow(weights, cmap="Blues", vmin=0, vmax=1)
        panel.set_xticks(range(len(read)), read, rotation=0 if max(map(len, read)) < 3 else 90)
        panel.set_yticks(range(len(written)), written)
        panel.xaxis.tick_top()
        panel.tick_params(length=0)
        panel.set_anchor("N")
    _save(figure, path)


def glimpses(rows, path):
    """Draws pictures, and beside each where in it every word of a caption looked: the brighter, the more.

    Args:
        rows: list of a picture, uint8 (height, width) or (height, width, 3); the words; their maps (words, rows,
            columns) of weights; and whether the caption is right: its words are red if not.
        path: of the PNG.
    """
    columns = 1 + max(len(words) for _, words, _, _ in rows)
    figure = Figure(figsize=(1.15 * columns, 1.4 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    for panels, (picture, words, maps, is_right) in zip(
        figure.subplots(len(rows), columns, squeeze=False), rows, strict=True
    ):
        for panel in panels:
            panel.set_axis_off()
        height, width = picture.shape[:2]
        panels[0].imshow(picture, cmap="gray", vmin=0, vmax=255)
        for panel, word, weights in zip(panels[1:], words, maps, strict=False):
            panel.imshow(picture, cmap="gray", vmin=0, vmax=255, alpha=0.5)
            look = {"cmap": "hot", "alpha": 0.6, "vmin": 0, "vmax": max(weights.max(), 1e-9)}
            panel.imshow(weights, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="bilinear", **look)
            panel.set_title(word, fontsize=9, color="black" if is_right else "red", parse_math=False)
    _save(figure, path)


def canvases(rows, path, most=12):
    """Draws what is on a canvas step by step, and the windows of the step: red where is read, green where is written.

    Args:
        rows: list of a title; an image that is drawn, or None; and a dict of `canvases` (steps, height, width), from 0
            to 1, and perhaps of `read` and `write`, (steps, 4): column and row of the centre of a window, counted from
            1, its side and the deviation of its filters, in pixels.
        path: of the PNG.
        most: of the steps, at equal distances, the last among them.
    """
    steps = len(rows[0][2]["canvases"])
    shown = np.unique(np.linspace(0, steps - 1, min(most, steps)).round().astype(int))
    figure = Figure(figsize=(1.0 * (len(shown) + 1), 1.2 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), len(shown) + 1, squeeze=False)
    for panels, (title, image, drawn) in zip(grid, rows, strict=True):
        for panel in panels:
            panel.set_axis_off()
        panels[1].set_title(title, fontsize=9, loc="left")
        if image is not None:
            panels[0].imshow(image, cmap="gray", vmin=0, vmax=1)
        for panel, step in zip(panels[1:], shown, strict=True):
            panel.imshow(drawn["canvases"][step], cmap="gray", vmin=0, vmax=1)
            height, width = drawn["canvases"][step].shape
            panel.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
            for way, colour in (("read", "red"), ("write", "lime")):
                if way in drawn:
                    x, y, side, deviation = drawn[way][step]
                    look = {"fill": False, "edgecolor": colour, "linewidth": min(max(deviation, 0.5), 4)}
                    panel.add_patch(Rectangle((x - 1 - side / 2, y - 1 - side / 2), side, side, **look))
    _save(figure, path)


def moving_canvases(rows, path, scale=4, milliseconds=250):
    """Draws what is on several canvases, side by side, as an animation, with the windows of each step.

    Args:
        rows: list of dicts as `canvases` takes them, all of as many steps.
        path: of the GIF.
        scale: pixels of the picture for one of the canvas.
        milliseconds: for a step; the last one stays for eight.
    """
    frames = []
    for step in range(len(rows[0]["canvases"])):
        shown = np.concatenate(
            [np.pad(row["canvases"][step], ((0, 0), (0, 1)), constant_values=0.5) for row in rows], 1
        )
        frame = Image.fromarray((255 * shown).astype(np.uint8)).convert("RGB")
        frame = frame.resize([scale * size for size in frame.size], Image.Resampling.NEAREST)
        pen, start = ImageDraw.Draw(frame), 0
        for row in rows:
            for way, colour in (("read", "red"), ("write", "lime")):
                if way in row:
                    x, y, side, _ = row[way][step]
                    corner = np.array([start + x - 0.5 - side / 2, y - 0.5 - side / 2])
                    box = np.clip(scale * np.concatenate([corner, corner + side]), -9999, 9999)
                    pen.rectangle([float(edge) for edge in box], outline=colour)
            start += row["canvases"].shape[-1] + 1
        frames.append(frame)
    durations = [milliseconds] * (len(frames) - 1) + [8 * milliseconds]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def tree(words, parents, values, path):
    """Draws a tree, its nodes in colours from red over yellow to green.

    Args:
        words: str array (nodes,), "" where a node has none.
        parents: int array (nodes,), the place of the parent of each node, after it; -1 of the root, which is first.
        values: float array (nodes,) from 0 to 1.
        path: of the PNG.
    """
    is_leaf = ~np.isin(np.arange(len(words)), parents)
    across, heights = np.zeros(len(words)), np.zeros(len(words))
    across[is_leaf] = np.arange(is_leaf.sum())
    for node in reversed(range(len(words))):
        below = np.flatnonzero(parents == node)
        if len(below):
            across[node], heights[node] = across[below].mean(), heights[below].max() + 1
    figure, (panel,) = _figure(1, width=max(3.0, 1 + 0.42 * is_leaf.sum()), height=2.2 + 0.3 * heights.max())
    for node, parent in enumerate(parents):
        if parent >= 0:
            ends = (across[node], across[parent]), (heights[node], heights[parent])
            panel.plot(*ends, color="grey", linewidth=0.8, zorder=1)
    panel.scatter(across, heights, c=values, cmap="RdYlGn", vmin=0, vmax=1, s=90, edgecolors="black", linewidths=0.5)
    for node in np.flatnonzero(is_leaf):
        look = {"rotation": 90, "ha": "center", "va": "top", "fontsize": 9, "parse_math": False}
        panel.text(across[node], heights[node] - 0.4, words[node], **look)
    panel.set_ylim(-3, heights.max() + 0.6)
    panel.set_axis_off()
    _save(figure, path)


def _figure(panels, width, height):
    figure = Figure(figsize=(width * panels, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _save(figure, path):
    figure.savefig(path, dpi=120)
