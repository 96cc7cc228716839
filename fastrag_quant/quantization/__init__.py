"""From an fp32 embedder to a verified int8 model directory."""
