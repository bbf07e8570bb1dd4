"""The commands `individuate space ...`: fit, show, draw, regions, label, test."""
