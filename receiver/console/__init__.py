"""The console: pages rendered here, for people who look after the installation. See docs/console.md for how to add one."""
