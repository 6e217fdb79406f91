"""Code of the user's own: imported by path, its arguments checked, the same on all ranks.

What kinds of it there are: ``loss.py`` here, ``trainer/models/imported.py``, ``trainer/data/imported.py`` and
``trainer/data/transform.py`` beside others of their kind.
"""
