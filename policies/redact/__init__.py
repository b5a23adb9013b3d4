"""Redaction: values that must not be seen become handles, and come back only where a policy lets them."""
