"""The page for a terminal: a running engine seen and moved from another shell, over ssh too."""
