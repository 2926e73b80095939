"""ThingsBoard's dialect: its device topics, its provisioning by key, and its REST calls."""
