"""The broker's logins: the password file of a stock Mosquitto, and the files of the plugin."""
