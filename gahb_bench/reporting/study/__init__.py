"""What a report says, as data: runs put together, families, methods, standings. Nothing is drawn here."""
