"""Shipped physical parameters: joint limits, collision filters, Bullet parameters."""
