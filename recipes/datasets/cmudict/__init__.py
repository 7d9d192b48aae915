"""English words and how they are pronounced: the CMU Pronouncing Dictionary."""
