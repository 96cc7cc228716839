"""What a model directory is: where it comes from, its settings, its manifest, its tokenizer."""
