"""The report of a study: tables, figures, the diagnosis, and the page with all of them."""
