"""The commands as jobs, the terminal that runs them, and jobs in a child process."""
