"""The native engine: an encoder in int8 on kernels of this package's own."""
