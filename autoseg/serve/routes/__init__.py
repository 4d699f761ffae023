"""The routes of the service, a router in each file: they translate, and compute nothing."""
