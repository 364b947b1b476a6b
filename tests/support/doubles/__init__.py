"""Services and programs of others, played over their real interfaces."""
