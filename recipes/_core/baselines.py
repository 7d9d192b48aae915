"""What a model has to beat."""

import numpy as np
from sklearn.linear_model import LogisticRegression


def majority_class(train_labels, test_labels):
    """Accuracy of always answering the most frequent training label."""
    return float(np.mean(test_labels == np.bincount(train_labels).argmax()))


def logistic_regression(train_inputs, train_labels, test_inputs, test_labels):
    """Test accuracy of a multinomial logistic regression on flattened inputs (examples, ...)."""
    flat = (np.reshape(inputs, (len(inputs), -1)).astype(np.float32) for inputs in (train_inputs, test_inputs))
    train_inputs, test_inputs = flat
    return float(
        LogisticRegression(max_iter=1000, tol=1e-3).fit(train_inputs, train_labels).score(test_inputs, test_labels)
    )
