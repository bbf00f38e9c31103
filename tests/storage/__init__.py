"""The storage under strain: snapshots that somebody holds, dead rows, old days, and what doctor says of them."""
