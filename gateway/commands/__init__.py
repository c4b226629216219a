"""The commands of `headgate`: records, reports, export, prices; desk runs one here or by URL.

`bench` measures a gateway: `load` asks it, `processes` says what that costs on this machine.
"""
