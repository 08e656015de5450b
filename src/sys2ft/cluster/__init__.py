"""What a cluster asks for beside the workflow: runs that were killed, and cells started by hand."""
