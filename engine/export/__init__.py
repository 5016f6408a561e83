"""A run's model as a file that others read, without flaxmill: a file here a format.

Each has `write(run, path)`, which writes it, and `said(run, path, inputs)`, what its users' own
reader says of inputs [N, ...]: so every export is compared with `Run.predict` before it is kept;
and LOADED, the lines of its card that load it, by which it is a format (formats.py).
"""
