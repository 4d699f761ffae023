"""What the scripts about damaged files share: sample files, mutations, and a child process that may crash or hang."""
