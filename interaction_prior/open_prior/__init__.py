"""The prior that ships: `InteractionPrior.load("open")`."""
