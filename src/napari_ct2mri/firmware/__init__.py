"""From a trained generator to firmware: integers that are exact, C that computes them."""
