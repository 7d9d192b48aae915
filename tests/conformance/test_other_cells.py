"""Cells and models that are not of the catalog."""

import keras
import numpy as np
import pytest

import archs
from tests.conformance.catalog import ARCHS, request, small_model, takes


@keras.saving.register_keras_serializable(package="tests")
class PlainCell(keras.layers.Layer):
    """A cell as a user writes it: one state whose size is an integer, no size of the output, no initial state."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], self.units), name="kernel")

    def call(self, x, states):
        h = keras.ops.tanh(keras.ops.matmul(x, self.kernel) + states[0])
        return h, [h]

    def get_config(self):
        return super().get_config() | {"units": self.units}


WRAPPING = (
    "attention_captioner",
    "draw",
    "draw_classifier",
    "ntm",
    "storn",
    "vrnn",
)  # which run a step of a cell within their own: it has to be of the catalog
FOREIGN = [keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell, PlainCell]


@pytest.mark.parametrize("arch", [arch for arch in ARCHS if takes(arch, "cell") and arch not in WRAPPING])
@pytest.mark.parametrize("cell", [*FOREIGN, lambda units: keras.layers.GRUCell(units)])
def test_architecture_takes_cells_of_others(arch, cell, tmp_path):
    options = {"attention": None} if arch == "encoder_decoder_lstm" else {}
    model = small_model(arch, cell=cell, **options)
    model.compile("sgd", "mse")
    x = request(model)
    x = x if isinstance(model.input, dict) else x["inputs"]
    model.fit(x, np.zeros(model(x).shape), verbose=0)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "model.keras")(x), model(x), atol=1e-6)


def test_attention_is_for_cells_of_the_catalog():
    with pytest.raises(ValueError, match=r"for the layer that attends, received <GRUCell .* or `attention=None`"):
        archs.encoder_decoder_lstm(4, 6, 2, cell=keras.layers.GRUCell)
    with pytest.raises(ValueError, match="for the layer that attends, received <GRUCell"):
        archs.attention_captioner(4, 6, 2, cell=keras.layers.GRUCell)
    assert archs.attention_captioner(4, [6, 6], 2, cell=[keras.layers.GRUCell, "lstm"]).count_params()


def test_files_of_plain_models_load(tmp_path):
    model = archs.bidirectional_lstm(4, 6, 2, lengths=True)
    keras.Model(model.input, model.output, name="plain").save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded).__name__ == "Functional"
    x = request(model)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_a_model_shows_its_layers(capsys):
    archs.stacked_lstm(4, [6], 2).summary()
    assert 'Model: "stacked_lstm"' in capsys.readouterr().out
