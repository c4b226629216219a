"""What was spent: usage and export (spending, report_forms, parquet); audit (allowances) and why; retention, and whose
turn it is at the journal (turns); reconcile."""
