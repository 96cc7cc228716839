"""A module for each library that is compared: how its model is made, and how it embeds."""
