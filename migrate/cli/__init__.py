"""Words, options, screens, exit codes."""
