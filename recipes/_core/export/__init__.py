"""SavedModels: their signatures, what they may hold, their check, other formats."""
