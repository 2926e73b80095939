"""What can be asked of the service: frozen values, each saying which rows its rule must see.

`caller` is the principal the broker vouches for. Nothing here decides anything.
"""
