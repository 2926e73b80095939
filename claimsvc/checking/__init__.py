"""A look at the live system from outside, as a client: whether it answers, and whether it holds what it promises."""
