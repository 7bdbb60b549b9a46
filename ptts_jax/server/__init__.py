"""The local web server: an engine behind HTTP and websockets.

Starlette, since there is little that a larger framework would add: the options check themselves
(engine/request), and errors must have OpenAI's shape anyway.
"""
