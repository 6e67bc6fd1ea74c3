"""Which parameters train: adapters over a frozen base."""
