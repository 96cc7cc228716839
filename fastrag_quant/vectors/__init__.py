"""From texts to vectors in the form that is asked for: streaming, output, ranking."""
