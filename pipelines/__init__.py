"""The pipelines: which steps, in which order, with which means, and the ways to run them.

`ctgi pipeline` or `python -m pipelines`, with `pip install 'ctgi[pipelines]'`; `ctgi` itself knows nothing
of it.
"""
