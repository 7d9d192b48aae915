"""The server's page in headless Chromium, which is driven over its DevTools protocol."""

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from websockets.sync import client

from recipes._core.export import artifact, brackets
from recipes._core.export.signatures import by_name, expect
from recipes._core.server import front, models, replica, rest
from tests.recipes.server.small import listening

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(1)>"
LETTERS = "abcdefgh"
TAGS = ["NOUN", "VERB", "PUNCT"]
BY = "\N{MULTIPLICATION SIGN}"


def spec(name, dtype=tf.string, shape=(None,)):
    return tf.TensorSpec(shape, dtype, name=name)


def speller():
    """A word in; its letters in capitals, with others that score less, and attention on the letter of each."""

    def search(inputs):
        best = tf.strings.upper(inputs["word"])
        answers = tf.stack([best, tf.strings.lower(inputs["word"])], axis=1)
        fine = expect((inputs["beam"] > 0) & (inputs["beam"] < 9), "beam: expected 1 to 8")
        with tf.control_dependencies([fine]):
            return {"letters": answers, "probabilities": tf.tile([[0.75, 0.25]], [tf.shape(best)[0], 1])}

    def greedy(inputs):
        letters = tf.strings.unicode_split(inputs["word"], "UTF-8").to_tensor()
        spelt = tf.strings.reduce_join(tf.strings.upper(letters), axis=1, separator=" ")
        count = tf.shape(letters)[1]
        return {"letters": spelt, "attention": tf.eye(count + 1, count, batch_shape=tf.shape(letters)[:1])}

    return {
        "serving_default": by_name(search, [spec("word"), spec("beam", tf.int32)]),
        "greedy": by_name(greedy, [spec("word")]),
    }


def tagger():
    """Words, each tagged by its length."""

    def tags(inputs):
        words = tf.strings.split(inputs["sentence"]).to_tensor()
        tag = tf.strings.length(words) % len(TAGS)
        return {"word": words, "tag": tf.gather(tf.constant(TAGS), tag), "probabilities": tf.one_hot(tag, len(TAGS))}

    return {"serving_default": by_name(tags, [spec("sentence")])}


def treebank():
    """The phrases of a tree, each with a tag by its length."""

    def phrases(inputs):
        trees = brackets.parse(inputs["tree"], 2)
        tag = tf.strings.length(trees.phrases()) % len(TAGS)
        label = tf.gather(tf.constant(TAGS), tag)
        shares = tf.one_hot(tag, len(TAGS))
        return {"phrase": trees.phrases(), "label": label, "probabilities": shares, "parent": trees.parents}

    return {"serving_default": by_name(phrases, [spec("tree")])}


def writer():
    """Writes LETTERS and ends; after a prompt with "!" it goes on and on. The state counts what it has written."""

    def answer(state):
        written = tf.cast(state[:, 0], tf.int32)
        token = tf.where(written == len(LETTERS), 1, 2 + written % len(LETTERS))
        return {"logits": 100 * tf.one_hot(token, 2 + len(LETTERS)), "h": state}

    def prefill(inputs):
        endless = tf.strings.regex_full_match(inputs["prompt"], ".*!")
        return answer(tf.where(endless, 1e5 * len(LETTERS), 0.0)[:, None])

    def step(inputs):
        return answer(inputs["h"] + 1)

    return {
        "serving_default": by_name(lambda inputs: {"text": inputs["prompt"]}, [spec("prompt")]),
        "prefill": by_name(prefill, [spec("prompt")]),
        "step": by_name(step, [spec("token", tf.int32), spec("h", tf.float32, (None, 1))]),
    }


def looker(*colours):
    """A picture of 16 x 16; words that look at the quarter of it which is brightest, and at all of it.

    And `sample`: a canvas whose first row, and after the second step all of it, is as bright as the seed says.
    """

    def captions(inputs):
        light = tf.cast(inputs["image"], tf.float32)
        light = tf.reduce_sum(light, axis=-1) if colours else light
        quarters = tf.reduce_sum(tf.reshape(light, (-1, 2, 8, 2, 8)), axis=(2, 4))
        place = tf.argmax(tf.reshape(quarters, (-1, 4)), axis=1)
        rows = tf.shape(light)[0]
        looked = tf.stack([tf.one_hot(place, 4), tf.fill([rows, 4], 0.25), tf.zeros([rows, 4])], axis=1)
        word = tf.gather(tf.constant(["north-west", "north-east", "south-west", "south-east"]), place)
        return {
            "caption": tf.stack([word + " of it", word], axis=1),
            "probabilities": tf.tile([[0.75, 0.25]], [rows, 1]),
            "words": tf.stack([word, tf.fill([rows], "picture"), tf.fill([rows], "")], axis=1),
            "attention": tf.reshape(looked, (-1, 3, 2, 2)),
        }

    def sample(inputs):
        light = tf.cast(inputs["seed"], tf.float32)[:, None, None] / 10
        first = light * tf.one_hot(0, 16)[:, None] + tf.zeros((16, 16))
        canvases = tf.stack([first, light + tf.zeros((16, 16))], axis=1)
        windows = tf.constant([[4.5, 12.5, 4.0, 1.0], [8.5, 8.5, 8.0, 1.0]]) + 0 * light
        return {"canvases": canvases, "write": windows}

    return {
        "serving_default": by_name(captions, [spec("image", tf.uint8, (None, 16, 16, *colours))]),
        "sample": by_name(sample, [spec("seed", tf.int32)]),
    }


def bright(row, column, *colours):
    """A picture whose quarter in a row and a column is white, or, in colours, red."""
    image = np.zeros((16, 16, *colours), np.uint8)
    image[8 * row :, 8 * column :][:8, :8] = [255, 0, 0] if colours else 255
    return image


def copier():
    """Bits in, the same bits out, and where it looked for each."""

    def copy(inputs):
        bits, lengths = inputs["vectors"], inputs["lengths"]
        inside = tf.sequence_mask(lengths, tf.shape(bits)[1])[..., None]
        looked = tf.one_hot(tf.range(tf.shape(bits)[1]), 16)
        looked = tf.tile(looked[None], [tf.shape(bits)[0], 1, 1])
        return {"answer": tf.where(inside, bits, 0), "logits": tf.cast(bits, tf.float32) - 0.5, "weighting": looked}

    return {"serving_default": by_name(copy, [spec("vectors", tf.uint8, (None, None, 8)), spec("lengths", tf.int32)])}


def player():
    """Rolls of as many frames as are asked for, the key of the seed sounding in all; and a number for each frame."""

    def sample(inputs):
        steps = tf.reduce_max(inputs["steps"])
        roll = tf.tile(tf.one_hot(inputs["seed"], 88, dtype=tf.uint8)[:, None], [1, steps, 1])
        return {"rolls": roll, "divergences": tf.cast(tf.range(steps), tf.float32)[None] / 2}

    return {"serving_default": by_name(sample, [spec("steps", tf.int32), spec("seed", tf.int32)])}


@pytest.fixture(scope="module")
def site(trained, tmp_path_factory):
    """The URL of a server of a trained model and of hand-made ones."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(trained / "saved_models/vanilla_lstm_mnist", folder / "vanilla_lstm_mnist")
    cards = {
        "speller": (speller(), {"serving_default": {"word": ["abe"], "beam": [2]}, "greedy": {"word": ["abe"]}}, []),
        "tagger": (tagger(), {"serving_default": {"sentence": ["dogs sleep now"]}}, TAGS),
        "treebank": (treebank(), {"serving_default": {"tree": ["((a) ((good) (film)))"]}}, TAGS),
        "copier": (copier(), {"serving_default": {"vectors": [[[1, 0] * 4, [0, 1] * 4, [1] * 8]], "lengths": [3]}}, []),
        "player": (player(), {"serving_default": {"steps": [20], "seed": [3]}}, []),
        "writer": (writer(), {"prefill": {"prompt": ["Once\n"]}}, ["\N{REPLACEMENT CHARACTER}", "", *LETTERS]),
    }
    for name, colours in (("viewer", ()), ("watcher", (3,))):
        requests = {"serving_default": {"image": [bright(0, 1, *colours).tolist()]}, "sample": {"seed": [10]}}
        cards[name] = looker(*colours), requests, []
    for name, (functions, requests, labels) in cards.items():
        artifact.write(folder / name / "1", functions)
        card = {
            "recipe": HOSTILE,
            "metrics": {"test_accuracy": 0.5},
            "published": {HOSTILE: 0.9},
            "sample": {signature: {"request": request} for signature, request in requests.items()},
            "labels": labels,
        }
        (folder / name / "1/card.json").write_text(json.dumps(card))
    served, answering = models.Models(folder), replica.Replica(folder)

    async def answer(*request):
        return await asyncio.to_thread(answering.answer, *request)

    for name, number in served.changes():
        served.switch(name, number)
    app = rest.app(front.Front(served, answer), 2**20)
    with listening(app) as port:
        yield f"http://127.0.0.1:{port}"


class Chromium:
    """A page of a browser, and the events that its protocol told of."""

    FLAGS = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--disable-dev-shm-usage", "--remote-debugging-port=0"),
    )

    def __init__(self, socket):
        self._socket, self._numbers, self.events = socket, itertools.count(), []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    @classmethod
    @contextlib.contextmanager
    def started(cls, folder):
        program = shutil.which("chromium")
        assert program, "expected Debian's package chromium"
        command = [program, *cls.FLAGS, f"--user-data-dir={folder}", "about:blank"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                port = folder / "DevToolsActivePort"
                until(lambda: port.exists() and port.read_text().count("\n"))
                with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json") as response:
                    (page,) = (target for target in json.load(response) if target["type"] == "page")
                with client.connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
                    yield cls(socket)
            finally:
                process.terminate()

    def call(self, method, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def texts(self, selector):
        """Of all elements, as a person sees them."""
        return self.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map(each => each.innerText)")

    def wait(self, selector, count=1):
        until(lambda: len(self.texts(selector)) >= count)

    def wait_until_ready(self):
        until(lambda: self.evaluate("!document.querySelector('button[type=submit]').disabled"))

    def box(self, selector):
        """The place of an element, once it is in sight."""
        show = (
            f"const found = document.querySelector({json.dumps(selector)}); found.scrollIntoView({{block: 'center'}})"
        )
        return self.evaluate(f"(() => {{ {show}; return found.getBoundingClientRect().toJSON(); }})()")

    def click(self, selector):
        box = self.box(selector)
        self.drag([(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)])

    def drag(self, places):
        (x, y), (last_x, last_y) = places[0], places[-1]
        button = {"button": "left", "clickCount": 1}
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **button)
        for to_x, to_y in places[1:]:
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=to_x, y=to_y, buttons=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=last_x, y=last_y, **button)

    def choose(self, selector, path):
        """A file, in a field for files."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def type(self, selector, text):
        """Instead of what is in a field."""
        self.evaluate(f"(field => (field.focus(), field.select()))(document.querySelector({json.dumps(selector)}))")
        for letter in text:
            self.call("Input.dispatchKeyEvent", type="keyDown", key=letter, text=letter)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=letter)

    def press_enter(self):
        for kind, text in (("keyDown", {"text": "\r"}), ("keyUp", {})):
            self.call("Input.dispatchKeyEvent", type=kind, key="Enter", windowsVirtualKeyCode=13, **text)

    def resize(self, width):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Emulation.setDeviceMetricsOverride", **size)


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return value


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with Chromium.started(tmp_path_factory.mktemp("chromium")) as chromium:
        yield chromium


@pytest.fixture
def open_page(site, chromium):
    """A function that shows the page of a model; in the end, nothing went wrong that nobody sees."""

    def open_page(name, width=1280):
        chromium.resize(width)
        chromium.call("Page.navigate", url="about:blank")
        chromium.events.clear()
        chromium.call("Page.navigate", url=f"{site}/#{name}")
        until(lambda: chromium.texts("h2") == [name])
        return chromium

    yield open_page
    chromium.evaluate("1")  # the events until now
    told = {method: [] for method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")}
    for event in chromium.events:
        told.get(event["method"], []).append(event["params"])
    refused = [entry for entry in told.pop("Log.entryAdded") if "status of 400" not in entry["entry"]["text"]]
    assert not refused
    assert not any(told.values())
    asked = [e["params"]["request"]["url"] for e in chromium.events if e["method"] == "Network.requestWillBeSent"]
    assert len(asked) > 3
    assert all(url.startswith((site + "/", "data:")) for url in asked)


def post(site, name, signature, inputs):
    body = json.dumps({"signature_name": signature, "inputs": inputs}).encode()
    try:
        with urllib.request.urlopen(f"{site}/v1/models/{name}:predict", body) as response:
            return json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)


def test_a_picture_is_classified_as_the_api_says_and_so_is_one_that_is_drawn(site, open_page):
    page = open_page("vanilla_lstm_mnist")
    seen = "[...document.querySelectorAll('.bars li')].map(each => each.textContent)"

    def said():
        rows = json.loads(page.evaluate("document.querySelector('#input-rows').value"))
        answer = post(site, "vanilla_lstm_mnist", "serving_default", {"rows": [rows], "lengths": [28]})
        assert page.texts(".answer") == answer["label"]
        assert page.evaluate(seen) == [f"{i}{100 * p:.1f} %" for i, p in enumerate(answer["probabilities"][0])]
        return np.array(rows)

    page.click("button[type=submit]")
    page.wait(".bars li", 10)
    before = said()
    old = page.evaluate(seen)
    box = page.box(".pad")
    middle = box["x"] + box["width"] / 2
    page.drag([(middle, box["y"] + share * box["height"]) for share in np.linspace(0.2, 0.8, 9)])
    until(lambda: page.evaluate(seen) != old)
    drawn = said()
    assert (before != drawn).any()
    assert drawn[8:20, 13:15].min() > 100
    assert drawn[:, :10].max() == drawn[:, 18:].max() == 0


def test_attention_is_a_map_with_a_cell_for_each_letter_and_piece(site, open_page):
    page = open_page("speller")
    page.type("#input-word", "hello")
    page.press_enter()
    page.wait(".heat tbody td")
    answer = post(site, "speller", "serving_default", {"word": ["hello"], "beam": [2]})
    shares = [f"{probability:.4g}" for probability in answer["probabilities"][0]]
    assert page.texts(".figures td") == list(itertools.chain(*zip(answer["letters"][0], shares, strict=True)))
    assert page.texts(".heat thead th") == list("hello")
    assert page.texts(".heat tbody th") == [*"HELLO", "end"]
    titles = page.evaluate("[...document.querySelectorAll('.heat tbody td')].map(each => each.title)")
    assert len(titles) == len("hello") * len("HELLO.")
    assert titles[0] == "H looks at h: 100.0 %"
    assert titles[1] == "H looks at e: 0.0 %"
    page.click("details:last-child summary")
    until(lambda: page.texts(".curl")[0].startswith("curl"))
    command = ["bash", "-c", page.texts(".curl")[0]]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout) == {"outputs": answer}


SEEN = """[...document.querySelectorAll('.glimpses figure')].map(each => {
  const [ground, light] = each.querySelectorAll('canvas'), told = each.querySelector('[role=img]').title;
  const copy = Object.assign(document.createElement('canvas'), { width: light.width, height: light.height });
  const sheet = copy.getContext('2d', { willReadFrequently: true });
  sheet.drawImage(light, 0, 0);
  const { data } = sheet.getImageData(0, 0, light.width, light.height);
  const alphas = [...data].filter((_, i) => i % 4 === 3);
  return [each.innerText.trim(), told, alphas, [ground.width, ground.height]];
})"""


@pytest.mark.parametrize(("name", "colours"), [("viewer", ()), ("watcher", (3,))])
def test_each_word_of_a_caption_shows_where_it_looked_in_a_picture_that_is_taken(
    name, colours, site, open_page, tmp_path
):
    page = open_page(name)
    page.click("button[type=submit]")
    page.wait(".glimpses figure", 2)
    words = [
        ["north-east", "100.0 % in row 1 of 2, column 2 of 2", [0, 255, 0, 0], [16, 16]],
        ["picture", "25.0 % in row 1 of 2, column 1 of 2", [128] * 4, [16, 16]],
    ]
    assert page.evaluate(SEEN) == words
    assert page.texts(".figures td") == ["north-east of it", "0.75", "north-east", "0.25"]
    # Ink on paper where the sheet is of ink; as wide as high in the middle, where it is in colours.
    taken = np.full((20, 20 if not colours else 40, 3), 240 if not colours else 0, np.uint8)
    taken[12:, 2:9] = [20, 20, 20] if not colours else 0
    taken[10:, 10:20] = taken[10:, 10:20] if not colours else [0, 0, 250]
    Image.fromarray(taken).save(tmp_path / "taken.png")
    page.choose("input[type=file]", tmp_path / "taken.png")
    until(lambda: "south-west" in str(page.evaluate(SEEN)))
    image = np.array(json.loads(page.evaluate("document.querySelector('#input-image').value")))
    answer = post(site, name, "serving_default", {"image": [image.tolist()]})
    assert page.texts(".figures td")[0] == answer["caption"][0][0] == "south-west of it"
    if colours:
        assert np.abs(image[9:15, 1:7] - [0, 0, 250]).max() < 12
        assert image[:6].max() < 12
    else:
        assert image[11:15, 3:6].min() > 200
        assert image[:8].max() < 40
    (tmp_path / "text.png").write_text("no picture")
    page.choose("input[type=file]", tmp_path / "text.png")
    until(lambda: page.texts("label .error") == ["This file is no picture."])


def test_what_is_drawn_is_looked_at(open_page):
    page = open_page("viewer")
    box = page.box(".pad")
    places = [(box["x"] + x * box["width"], box["y"] + 0.75 * box["height"]) for x in np.linspace(0.6, 0.9, 5)]
    page.drag(places)
    until(lambda: "south-east" in str(page.evaluate(SEEN)))


def test_a_canvas_is_seen_step_by_step_with_its_windows(open_page):
    page = open_page("viewer")
    page.click("[value=sample]")
    page.click("button[type=submit]")
    page.wait(".glimpses figure", 2)
    seen = page.evaluate(SEEN)
    assert [(name, told) for name, told, *_ in seen] == [
        ("1", "step 1, write around row 12.5, column 4.5"),
        ("2", "step 2, write around row 8.5, column 8.5"),
    ]
    lit = [np.argwhere(np.reshape(alphas, (128, 128)) > 0) for *_, alphas, _ in seen]
    for place, (row, column, side) in zip(lit, [(12.5, 4.5, 4), (8.5, 8.5, 8)], strict=True):
        middle, size = 8 * (np.array([row, column]) - 0.5), np.ptp(place, axis=0)
        np.testing.assert_allclose((place.min(axis=0) + place.max(axis=0) + 1) / 2, middle, atol=1)
        np.testing.assert_allclose(size, 8 * side + 4, atol=2)
    inks = """[...document.querySelectorAll('.glimpses figure')].map(each => {
      const ground = each.querySelector('canvas');
      const { data } = ground.getContext('2d').getImageData(0, 0, 16, 16);
      return [data[3], data[4 * 255 + 3]];
    })"""
    assert page.evaluate(inks) == [[255, 0], [255, 255]]


def test_what_the_server_refuses_is_told(site, open_page):
    page = open_page("speller")
    page.type("#input-beam", "9")
    page.press_enter()
    page.wait(".error")
    refusal = post(site, "speller", "serving_default", {"word": ["abe"], "beam": [9]})
    assert page.texts(".error") == [refusal["error"]]
    assert page.texts(".result") == [""]
    assert "beam: expected 1 to 8" in refusal["error"]
    page.type("#input-beam", "1")
    page.press_enter()
    page.wait(".heat")
    assert page.texts(".error") == []


def test_words_are_tagged_and_what_a_card_says_is_only_text(site, open_page):
    page = open_page("tagger")
    page.type("#input-sentence", "<b>it</b> is 1 & '2'")
    page.click("button[type=submit]")
    page.wait("ruby", 5)
    answer = post(site, "tagger", "serving_default", {"sentence": ["<b>it</b> is 1 & '2'"]})
    ours = page.evaluate("[...document.querySelectorAll('ruby')].map(each => [each.firstChild.data, each.title])")
    assert ours == [[w, f"{tag} 100.0 %"] for w, tag in zip(answer["word"][0], answer["tag"][0], strict=True)]
    legend = {text.split()[0]: int(text.split()[1]) for text in page.texts(".legend li")}
    assert legend == {tag: answer["tag"][0].count(tag) for tag in set(answer["tag"][0])}
    assert HOSTILE in page.texts("main")[0]
    assert page.evaluate("document.querySelectorAll('main img, main b').length") == 0


def test_a_tree_is_drawn_in_the_colours_of_its_labels(site, open_page):
    page = open_page("treebank")
    tree = "((<b>not) ((a) (very)))"
    page.evaluate("document.querySelector('#input-tree').value = ''")
    page.type("#input-tree", tree)
    page.click("button[type=submit]")
    page.wait("svg.tree circle", 5)
    answer = post(site, "treebank", "serving_default", {"tree": [tree]})
    titles = page.evaluate("[...document.querySelectorAll('svg.tree title')].map(each => each.textContent)")
    pairs = zip(answer["phrase"][0], answer["label"][0], strict=True)
    assert titles == [f"{phrase}: {label} 100.0 %" for phrase, label in pairs]
    assert answer["phrase"][0] == ["<b>not a very", "<b>not", "a very", "a", "very"]
    words = page.evaluate("[...document.querySelectorAll('svg.tree text[transform]')].map(each => each.textContent)")
    assert words == ["<b>not", "a", "very"]
    assert page.evaluate("document.querySelectorAll('svg.tree line').length") == 4
    circles = "[...document.querySelectorAll('svg.tree circle')]"
    hues = page.evaluate(f"{circles}.map(each => each.style.getPropertyValue('--hue'))")
    shares = [row.index(1.0) / (len(TAGS) - 1) for row in answer["probabilities"][0]]
    assert [float(hue) for hue in hues] == pytest.approx([25 + 120 * share for share in shares])
    places = page.evaluate(f"{circles}.map(each => each.cx.baseVal.value)")
    assert places[1] < places[0] < places[4]
    assert places[3] < places[2] < places[4]


def test_bits_are_pictures_and_their_number_is_counted(open_page):
    page = open_page("copier")
    assert page.texts("label") == ["vectors"]
    page.click("button[type=submit]")
    page.wait(".result canvas", 2)
    told = "[...document.querySelectorAll('canvas')].map(each => each.ariaLabel)"
    assert page.evaluate(told) == [f"vectors, 3 {BY} 8", f"answer, 3 {BY} 8", f"weighting, 3 {BY} 16"]
    assert page.texts(".result summary") == ["logits"]


def test_a_drawn_roll_is_a_picture_and_a_number_for_each_step_a_line(open_page):
    page = open_page("player")
    assert page.texts("label") == ["steps", "seed"]
    page.click("button[type=submit]")
    page.wait(".result canvas")
    told = "[...document.querySelectorAll('.result :is(canvas, svg)')].map(each => each.ariaLabel)"
    assert sorted(page.evaluate(told)) == ["Line of 20 steps", f"rolls, 20 {BY} 88"]
    assert page.texts(".result summary") == []


def test_text_streams_and_ends_or_is_stopped(site, open_page):
    page = open_page("writer")
    watch = """
        window.grown = [];
        new MutationObserver(() => {
          const text = document.querySelector('.stream')?.childNodes[1].data;
          if (text && text !== grown.at(-1)) grown.push(text);
        }).observe(document.querySelector('.result'), { characterData: true, childList: true, subtree: true });
    """
    page.evaluate(watch)
    page.click("button[type=submit]")
    page.wait(".stream .end")
    assert page.evaluate("grown") == [LETTERS[:count] for count in range(1, len(LETTERS) + 1)]
    assert page.texts(".stream")[0].startswith(f"Once\n{LETTERS}")
    page.wait_until_ready()
    assert "8 tokens," in page.texts("[role=status]")[0]

    def written(temperature, seed):
        page.type("#input-prompt", "!")
        for name, value in {"max_new_tokens": 20, "temperature": temperature, "seed": seed}.items():
            page.type(f"#input-{name}", str(value))
        page.press_enter()
        page.wait_until_ready()
        return page.texts(".stream")[0]

    assert written(0.7, 0) == "!" + (LETTERS * 3)[:20]
    hot = written(1000, 1)
    assert hot != written(1000, 2)
    assert hot == written(1000, 1)

    page.type("#input-temperature", "0.7")
    page.type("#input-max_new_tokens", "100000")
    page.press_enter()
    until(lambda: len(page.texts(".stream")[0]) > 30)
    page.click(".actions button:not([type=submit])")
    page.wait_until_ready()
    stopped = page.texts(".stream")[0]
    time.sleep(0.2)
    assert page.texts(".stream")[0] == stopped
    assert page.texts(".error") == page.texts(".end") == []

    page.click("[value=prefill]")
    page.type("#input-prompt", "!")
    page.click("button[type=submit]")
    page.wait(".result pre", 2)
    assert page.texts(".error") == []
    answer = post(site, "writer", "prefill", {"prompt": ["!"]})
    written = page.evaluate("[...document.querySelectorAll('.result pre')].map(each => JSON.parse(each.textContent))")
    assert written == [row for (row,) in answer.values()]


@pytest.mark.parametrize(
    "name", ["copier", "vanilla_lstm_mnist", "speller", "tagger", "treebank", "writer", "viewer", "watcher"]
)
def test_a_phone_needs_no_scrolling_to_the_side(open_page, name):
    page = open_page(name, width=390)
    page.click("button[type=submit]")
    page.wait(".result > *")
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    unnamed = "[...document.querySelectorAll('input, textarea')].filter(each => !each.labels[0]?.textContent).length"
    assert page.evaluate(unnamed) == 0
    page.click(".back")
    until(lambda: page.evaluate("!document.querySelector('main').checkVisibility()"))
    names = ["copier", "player", "speller", "tagger", "treebank", "vanilla_lstm_mnist", "viewer", "watcher", "writer"]
    assert page.texts("nav a") == names
    page.click("nav li:nth-child(4) a")
    until(lambda: page.texts("h2") == ["tagger"])
