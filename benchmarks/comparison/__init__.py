"""What compare.py measures: the systems, the processes that they run in, the texts, the machine's peak, the tables."""
