"""The stack on hosts that Ansible sets up: commands.py runs on the controller, host.py on each host."""
