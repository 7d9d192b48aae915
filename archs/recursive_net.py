"""Binary tree in, an answer for its root or for every node out: a recursive network without a memory."""

from archs._core import checks
from archs._core.registry import arch, make_node
from archs._core.tree_model import tree_model


@arch(paper="Socher et al. 2011; Socher et al. 2013", url="https://aclanthology.org/D13-1170", year=2011)
def recursive_net(
    features,
    units,
    outputs,
    *,
    tensor=False,
    node=None,
    vocabulary=None,
    return_nodes=False,
    activation=None,
    dropout=0.0,
    dtype=None,
    name="recursive_net",
):
    """Recursive network: one layer that joins two parts at a time, up a binary tree, and a dense layer above.

        inputs (batch, nodes, features), children (batch, nodes, 2) -> Tree(node) -> h of the root -> Dense
                                                                                  -> (batch, outputs)
        or, with `return_nodes`,                 -> h of every node -> Dense      -> (batch, nodes, outputs)

    R. Socher, C. C.-Y. Lin, A. Y. Ng, C. D. Manning, "Parsing Natural Scenes and Natural Language with Recursive Neural
    Networks", ICML 2011; with a tensor, the RNTN: R. Socher et al., "Recursive Deep Models for Semantic
    Compositionality Over a Sentiment Treebank", EMNLP 2013, sections 4.1 and 4.3.

    Departures from the papers, whose texts could not be had: see `archs.RecursiveNode` and `archs.RNTNNode`.

    A tree is given as `archs.Tree` takes it: for each of its nodes the places of its children. Padding is a node
    without children and without a parent. It changes no answer. With `return_nodes` the output carries the mask of the
    nodes, so that losses and metrics of Keras leave the padding out.

    Args:
        features: size of the vector of a node; with `vocabulary`, of a token's embedding. Where it is that of `units`,
            as in the papers, a leaf is its vector.
        units: positive integer, the size of the h of a node.
        outputs: size of an answer, for instance the number of classes. None: no dense layer, the features below it.
        tensor: whether the parts also multiply each other by a tensor: `node="rntn"` in place of `"recursive"`.
        node: None, or in the place of these a catalog name, a class of node cells, or a function `units -> node`.
        vocabulary: None, or the number of tokens; the inputs are then ints below it, (batch, nodes), 0 where a node has
            no word.
        return_nodes: whether there is an answer for every node, or one for the root.
        activation: of the dense layer. Default None: logits.
        dropout: rate in [0, 1) on the vectors of the nodes and on what goes into the dense layer.
        dtype: dtype policy of the model. Default: Keras' global one.
        name: of the model; two in one functional model need two names.

    Returns:
        A `keras.Model`. It takes a dict of `inputs`, a float tensor (batch, nodes, features) or an int tensor
        (batch, nodes), and `children`, an int tensor (batch, nodes, 2), -1 for none; any number of nodes. Its output is
        a tensor (batch, outputs) or (batch, nodes, outputs), of float32 also under a mixed policy.

    Raises:
        ValueError: an argument is out of its range, `node` is none of the three, or both `tensor` and `node` are given.

    Example:

    >>> import numpy as np, archs
    >>> model = archs.recursive_net(features=6, units=6, outputs=5, vocabulary=9, return_nodes=True)
    >>> children = np.array([[[-1, -1], [-1, -1], [0, 1]]])
    >>> model({"inputs": np.array([[3, 8, 0]]), "children": children}).shape
    TensorShape([1, 3, 5])
    """
    if checks.flag("tensor", tensor) and node is not None:
        raise ValueError(f"Expected `tensor` or `node`, received both, the node {node!r}.")
    return tree_model(
        make_node(node or ("rntn" if tensor else "recursive"), units, dtype=dtype),
        features,
        outputs,
        vocabulary=vocabulary,
        return_nodes=return_nodes,
        activation=activation,
        dropout=dropout,
        name=name,
    )
