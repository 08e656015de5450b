"""Study data: what a teacher writes about an item with the news in context."""
