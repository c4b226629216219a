"""The commands of `headgate`: records, reports, export, prices; desk runs one here or by URL."""
