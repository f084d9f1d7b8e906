from .names import fold_new_name as fold_new_name  # connects it, for commands too
