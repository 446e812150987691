"""Who may call, and what they may: API keys, JSON web tokens, trusted proxies, and the authorization webhook."""
