"""A look-alike of the XieHe backend, for the demo and the tests.

It behaves like the real one at four points of its history (`--contract 1..4`), including what the real one does wrong,
and runs as its own process. It imports nothing of the importer: a shared constant would let both sides drift together
and every test would still pass.
"""
