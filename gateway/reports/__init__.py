"""What was spent: usage and export (spending, report_forms, parquet); audit and why; retention; reconcile."""
