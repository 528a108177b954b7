"""The steps of the tour, a module for each protocol."""
