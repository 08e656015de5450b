"""System-2 fine-tuning: turn news into weights and measure how well that worked."""

__version__ = "0.1.0"
