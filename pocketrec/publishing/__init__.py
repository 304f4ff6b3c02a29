"""The publisher: keys, signing, co-signing, key rotation, deltas, and uploading releases to a server.

Nothing here runs on the server or on a device; the server never imports it.
"""
