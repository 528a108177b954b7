"""Protocol translation gateway: any inbound protocol to any outbound one, as routes.yaml declares."""
