"""Pages for people: curves of a run, and a comparison of the jobs of a sweep."""
