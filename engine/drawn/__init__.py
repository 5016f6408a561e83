"""Pictures and charts, as files and as a page has them."""
