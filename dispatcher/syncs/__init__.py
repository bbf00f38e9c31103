"""What a scheduled pull does: the contract in base.py and run.py, one module for each sync, the table of them in table.py."""
