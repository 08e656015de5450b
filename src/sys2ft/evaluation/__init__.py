"""Scoring: how a base or tuned model answers the questions, by condition, control and mode."""
