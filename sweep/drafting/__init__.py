"""A study file drafted from a look at a collection: what lies there, the settings that suit it, and the file's text."""
