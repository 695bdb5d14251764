"""What happened in a study, for a person: tables, figures, the diagnosis, and the page that holds them."""
