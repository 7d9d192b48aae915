"""The page of pictures and captions: scenes of digits, and COCO in the format of TFDS."""

import json
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.object_detection.coco_captions import CocoCaptions

from recipes import attention_captioner_scenes as page
from recipes._core.command import cli
from recipes.datasets.digit_scenes import digit_scenes_dataset_builder
from recipes.tasks.captioning import UNKNOWN

NAME = "attention_captioner_scenes"
SPLITS = {"train": 6, "val": 2, "test": 3, "restval": 1}
SCENES = {"train": 200, "validation": 30, "test": 60}
BUDGET = ["--epochs=1", "--units=8", "--filters=2", "--device=cpu"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A data folder with a few scenes of digits."""
    folder = tmp_path_factory.mktemp("scenes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digit_scenes_dataset_builder, "SCENES", SCENES)
        page.load(page.Config(), folder)
    return folder


@pytest.fixture
def coco(tmp_path, monkeypatch):
    """A data folder with a few pictures as COCO's, prepared by the builder of TFDS from files in COCO's format."""
    source, draw = tmp_path / "coco", np.random.default_rng(0)
    (source / "annotations").mkdir(parents=True)
    described = []
    for folder, splits in {"train2014": ("train",), "val2014": ("val", "test", "restval")}.items():
        (source / folder).mkdir()
        images, things = [], []
        for split in splits:
            for number in range(SPLITS[split]):
                name, size = f"COCO_{folder}_{split}_{number}.jpg", (40 + number, 30 + 2 * number)
                pixels = np.full((*size, 3), draw.integers(256, size=3), np.uint8)
                Image.fromarray(pixels).save(source / folder / name)
                image = len(described)
                images.append({"id": image, "file_name": name, "height": size[0], "width": size[1]})
                things.append({"id": image, "image_id": image, "bbox": [1.0, 2.0, 10.0, 20.0], "area": 200})
                things[-1] |= {"category_id": 1 + number % 80, "iscrowd": 0}
                texts = [f"A picture, number {number}.", f"Colours of {split}"][: 1 + number % 2]
                sentences = [{"sentid": 2 * image + n, "raw": text} for n, text in enumerate(texts)]
                described.append({"split": split, "filename": name, "sentences": sentences})
        categories = [{"id": n, "name": f"thing {n}"} for n in range(1, 81)]
        facts = {"images": images, "annotations": things, "categories": categories}
        (source / f"annotations/instances_{folder}.json").write_text(json.dumps(facts))
    (source / "dataset_coco.json").write_text(json.dumps({"images": described}))
    with monkeypatch.context() as patch:
        patch.setattr(
            tfds.download.DownloadManager, "download_and_extract", lambda self, urls: dict.fromkeys(urls, str(source))
        )
        CocoCaptions(data_dir=tmp_path / "data").download_and_prepare()
    return tmp_path / "data"


def test_a_dataset_of_tfds_in_cocos_format(coco, no_network):
    config = page.Config(dataset="coco_captions", side=20)
    splits = page.load(config, coco)
    task = page.Task(config)
    task.learn(splits)
    assert [len(split["image"]) for split in (splits.train, splits.validation, splits.test)] == [6, 2, 3]
    assert splits.train["image"].shape == (6, 20, 20, 3)
    assert "boxes" not in splits.train
    for image, captions in zip(splits.test["image"], task.references(splits.test), strict=True):
        assert image.std(axis=(0, 1)).max() < 4  # of one colour, as JPEG has it
        number = int(captions[0][len("a picture, number ") : -1])
        assert captions.tolist() == [f"a picture, number {number}.", "colours of test" if number % 2 else ""]
    ((inputs, targets),) = task.batches(splits.test).epoch()
    assert inputs["inputs"].shape == (4, 20, 20, 5)
    assert targets.shape == (4, 7)  # with the marks and the end


@pytest.mark.parametrize("positions", [True, False])
def test_two_channels_say_where_a_pixel_is(positions):
    task = page.Task(page.Config(side=5, positions=positions))
    images = np.arange(50, dtype=np.uint8).reshape(2, 5, 5)
    seen = task.preprocess(images)
    np.testing.assert_allclose(seen[..., 0], images / 255, rtol=1e-6)
    assert seen.shape == (2, 5, 5, 3 if positions else 1)
    for image in seen if positions else ():
        np.testing.assert_allclose(image[2, :, 1], [-1, -0.5, 0, 0.5, 1], atol=1e-6)
        np.testing.assert_allclose(image[:, 2, 2], [-1, -0.5, 0, 0.5, 1], atol=1e-6)


@pytest.mark.slow
def test_the_page_trains_on_cocos_format(coco, no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = ["--dataset=coco_captions", "--side=24", *BUDGET]
    assert cli.main(["train", NAME, *settings, "--export", f"--data-dir={coco}"]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert card["dataset"]["name"] == "coco_captions/2014"
    assert next(iter(card["metrics"])) == "bleu_4"
    assert np.shape(card["sample"]["serving_default"]["request"]["image"]) == (1, 24, 24, 3)
    Image.new("RGB", (30, 50), "red").save("red.png")
    capsys.readouterr()
    assert cli.main(["predict", NAME, "red.png", f"--data-dir={coco}"]) == 0
    assert "(probability 0." in capsys.readouterr().out


@pytest.mark.slow
def test_scenes_have_a_box_for_each_digit_in_the_order_of_the_caption(no_network, scenes):
    splits = page.load(page.Config(), scenes)
    task = page.Task(page.Config())
    task.learn(splits)
    words = {"a", "small", "large", "above", "left", "right", "of"}
    assert set(task.pieces) == {UNKNOWN, *words, *page.Task.names}
    for split, size in zip((splits.train, splits.validation, splits.test), SCENES.values(), strict=True):
        assert split["image"].shape == (size, 64, 64)
        words = np.array([caption.decode() for caption in split["caption"][:, 0].numpy()])
        things = (np.asarray(split["boxes"]).max(axis=2) > 0).sum(axis=1)
        for row in range(size):
            named = [word for word in words[row].split() if word in task.names]
            assert len(named) == things[row]
            boxes = np.rint(64 * np.asarray(split["boxes"])[row, : things[row]]).astype(int)
            ink = np.zeros((64, 64), bool)
            for (top, left, bottom, right), size in zip(boxes, re.findall("small|large", words[row]), strict=True):
                inside = split["image"][row][top:bottom, left:right]
                assert (max(inside.shape) <= 19) == (size == "small")
                assert inside[0].any()
                assert inside[-1].any()
                ink[top:bottom, left:right] = True
            assert not split["image"][row][~ink].any()


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["soft", "hard"])
def test_train_evaluate_predict(attention, scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    budget = [*BUDGET, f"--attention={attention}", "--cell=gru", f"--data-dir={scenes}"]
    assert cli.main(["train", NAME, *budget, "--export"]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert list(card["metrics"])[:2] == ["exact_match", "bleu_1"]
    assert {"most_frequent_caption", "nearest_picture"} < set(card["metrics"])
    (folder,) = (tmp_path / f"runs/{NAME}").iterdir()
    assert (folder / "glimpses.png").stat().st_size > 5000
    capsys.readouterr()
    assert cli.main(["evaluate", NAME, "--saved-model", f"--data-dir={scenes}"]) == 0
    assert f"exact match          {card['metrics']['exact_match']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", NAME, "test:7", f"--data-dir={scenes}"]) == 0
    assert re.search(r"test:7: .*\(probability 0\.\d{3}\), in truth a (small|large) ", capsys.readouterr().out)
