"""Networks: one file a family, found by the config in a plain dict."""
