"""Pictures in prompts: their sizes, and what that means for routing."""
