"""Problems with tests, for which a model writes programs: `benchmark=humaneval`, one file a choice."""
