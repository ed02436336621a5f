"""What all our admin pages share: read-only admins, lists that stay quick on millions of rows, charts, wording."""
