"""Tasks, one a file, whose name is the task's."""
