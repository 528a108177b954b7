"""The services that the demo's gateway calls. They know nothing of the gateway."""
