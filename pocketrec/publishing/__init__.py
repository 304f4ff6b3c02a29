"""The builder's side of trust: keys, signing, co-signing, rotation, deltas, and handing releases to a server.

Nothing here runs on the server or on a device; the server never imports it.
"""
