"""The people who run the fleet: accounts, API keys, the audit log. No HTTP."""
