"""Tree in, an answer for its root or for every node out: an LSTM over trees."""

from archs._core.registry import arch, make_node
from archs._core.tree_model import tree_model


@arch(paper="Tai et al. 2015", url="https://arxiv.org/abs/1503.00075", year=2015)
def tree_lstm(
    features,
    units,
    outputs,
    *,
    node="nary_lstm",
    arity=None,
    vocabulary=None,
    return_nodes=False,
    activation=None,
    dropout=0.0,
    dtype=None,
    name="tree_lstm",
):
    """LSTM over trees, from the leaves to the root, and a dense layer above the root or above every node.

        inputs (batch, nodes, features), children (batch, nodes, arity) -> Tree(node) -> h of the root -> Dense
                                                                                      -> (batch, outputs)
        or, with `return_nodes`,                     -> h of every node -> Dense      -> (batch, nodes, outputs)

    K. S. Tai, R. Socher, C. D. Manning, "Improved Semantic Representations From Tree-Structured Long Short-Term Memory
    Networks", ACL 2015, section 4.1. The two nodes of the paper: `"nary_lstm"`, for constituency trees, and
    `"child_sum_lstm"`, for dependency trees, whose nodes have any number of children in no order.

    Departures from the paper, whose text could not be had: see `archs.NaryLSTMNode` and `archs.ChildSumLSTMNode`.

    A tree is given as `archs.Tree` takes it: for each of its nodes the places of its children. Padding is a node
    without children and without a parent. It changes no answer. With `return_nodes` the output carries the mask of the
    nodes, so that losses and metrics of Keras leave the padding out.

    Args:
        features: size of the vector of a node; with `vocabulary`, of a token's embedding.
        units: positive integer, the size of the h and c of a node.
        outputs: size of an answer, for instance the number of classes. None: no dense layer, the features below it.
        node: a catalog name, a class of node cells, or a function `units -> node`.
        arity: number of children of a node. None: two with `"nary_lstm"`, any number with `"child_sum_lstm"`.
        vocabulary: None, or the number of tokens; the inputs are then ints below it, (batch, nodes), 0 where a node has
            no word.
        return_nodes: whether there is an answer for every node, or one for the root.
        activation: of the dense layer. Default None: logits.
        dropout: rate in [0, 1) on the vectors of the nodes and on what goes into the dense layer.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. It takes a dict of `inputs`, a float tensor (batch, nodes, features) or an int tensor
        (batch, nodes), and `children`, an int tensor (batch, nodes, arity), -1 for none; any number of nodes. Its
        output is a tensor (batch, outputs) or (batch, nodes, outputs), of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, or `node` is none of the three.

    Example:

    >>> import numpy as np, archs
    >>> model = archs.tree_lstm(features=4, units=6, outputs=2, vocabulary=9)
    >>> children = np.array([[[-1, -1], [-1, -1], [0, 1]]])
    >>> model({"inputs": np.array([[3, 8, 0]]), "children": children}).shape
    TensorShape([1, 2])
    """
    return tree_model(
        make_node(node, units, arity=arity, dtype=dtype),
        features,
        outputs,
        vocabulary=vocabulary,
        return_nodes=return_nodes,
        activation=activation,
        dropout=dropout,
        name=name,
    )
