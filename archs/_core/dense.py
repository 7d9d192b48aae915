"""Dense layers within a cell, beside its recurrence."""

from keras import ops

from archs._core.chrono import without_chrono


def weights(cell, name, inputs, outputs, offset=None):
    """Adds `<name>_kernel` (inputs, outputs) and, if the cell has biases, `<name>_bias` (outputs,): both, or a None.

    `offset` is what the first values of the bias are beside those of the initializer, (outputs,).
    """

    def start(initializer):
        drawn = without_chrono(initializer)
        return (
            drawn if offset is None else lambda shape, dtype=None: drawn(shape, dtype=dtype) + ops.cast(offset, dtype)
        )

    kernel = cell.weight(f"{name}_kernel", (inputs, outputs), role="kernel")
    bias = cell.weight(f"{name}_bias", (outputs,), role="bias", start=start) if cell.use_bias else None
    return kernel, bias


def dense(step, parts, kernel, bias=None):
    """Computes a layer of the tensors `parts` (batch, n) side by side, in a step of the cell."""
    z = step.product(parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1), kernel)
    return z if bias is None else step.shift(z, bias)
