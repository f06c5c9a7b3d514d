"""What authors print, by instance and step: kept for a while, within bounds, and read through the API. No journal."""
