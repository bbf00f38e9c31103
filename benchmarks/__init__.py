"""What Postroom reaches, as ratios in one run on one machine. `make bench`; never part of the tests."""
