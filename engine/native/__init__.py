"""Kernels of our own in C++, compiled on the user's machine where they are asked for."""
