"""The demo: the shipped routes.yaml in front of small backends, and a tour that checks each translation."""
