"""The admin API: http → operations (one table) → records; forms in; caps, answers and statements out."""
