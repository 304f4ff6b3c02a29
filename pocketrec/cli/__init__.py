"""The command `pocketrec`, one file a verb: its arguments, `run(args)` and its printing.

No logic: what a verb does lies in the rooms. What a device needs offline is in `edge_runtime/cli`.
"""
