"""ThingsBoard's words: its device topics, provisioning by key, and its REST calls."""
