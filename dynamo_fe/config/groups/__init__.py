"""The rows of the table of settings, one module a purpose. `config.settings` joins them into one type."""
