"""From answers to effects: measures beside their controls, with honest intervals."""
