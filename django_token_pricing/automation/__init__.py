"""What runs by itself: an operator sets rules once, and tokens are renewed, carried over and ended for everybody."""
