"""The machine and the environment: CPU, memory, installed extras, and the noise of third parties."""
