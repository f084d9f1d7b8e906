"""The target `native`: the stack on this machine, without containers."""
