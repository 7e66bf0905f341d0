"""Two hands against each other: the Bullet world, the repair, and the judge."""
