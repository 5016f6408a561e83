"""The user's own folders of pictures: which files, and what is to be learned of each."""
