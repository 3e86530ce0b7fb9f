"""The studio: a web page, and an HTTP API, for describing sounds and hearing them.

Reads from the bottom up: `limits`, `question`, `folder`, `store`, `turns`, `engine` and `tracks` know nothing of the
web; `guard`, `api` (with its `shapes`) and `server` are the web; `page` is what people see. It needs the extra
``studio``.
"""
