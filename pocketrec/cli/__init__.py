"""The command `pocketrec`, one file for each verb: its arguments, `run(args)` and its printing.

No logic: that is in the other packages. The commands of a device are in `edge_runtime/cli`.
"""
