"""Where a run happens: in this process, in workers, on other machines, once or in a sweep."""
