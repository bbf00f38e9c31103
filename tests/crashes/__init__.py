"""Crash tests: processes killed at named moments and at random ones, and every id added up afterwards (P6, P7, P9)."""
