"""What an operator needs: health, logs, the jobs that run by themselves."""
