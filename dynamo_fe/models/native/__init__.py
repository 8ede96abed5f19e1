"""Prompts of families whose models ship no chat template, written as their own encoders write them."""
