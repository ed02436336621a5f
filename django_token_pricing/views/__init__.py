"""What a host's own views and middleware take from us."""
