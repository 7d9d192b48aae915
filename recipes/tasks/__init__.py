"""Tasks, one module each: batches, loss, figures, signatures, pictures of what a model is trained to do."""
