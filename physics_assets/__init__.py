"""The hand as a mechanism, as data: joint limits, Bullet parameters, collision filters."""
