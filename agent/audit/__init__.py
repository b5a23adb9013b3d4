"""What can be taken out of the ledger: exports, reports."""
