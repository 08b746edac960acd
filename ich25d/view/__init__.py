"""Pictures and summaries for people: a predicted study, a store, a run, the environment."""
