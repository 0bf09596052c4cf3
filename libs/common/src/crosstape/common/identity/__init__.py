"""Who calls: principals, the tokens that prove them, and what ends those tokens before their time."""
