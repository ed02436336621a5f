-- Room for heap-only updates on the rows that every debit writes, and block ranges for date filters: rows arrive
-- roughly in the order of these columns, so a few kilobytes of index serve ten million of them.
ALTER TABLE django_token_pricing_tokenaccount SET (fillfactor = 70);
ALTER TABLE django_token_pricing_tokenallocation SET (fillfactor = 70);
ALTER TABLE django_token_pricing_tokenhold SET (fillfactor = 70);
ALTER TABLE django_token_pricing_limitcounter SET (fillfactor = 70);
CREATE INDEX tp_entry_booked ON django_token_pricing_ledgerentry USING brin (booked_at) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX tp_usage_used ON django_token_pricing_tokenusagelog USING brin (used_at) WITH (pages_per_range = 32, autosummarize = on);
-- The fold of the roll-ups reads the rows of the transactions since its last one.
CREATE INDEX tp_entry_xid ON django_token_pricing_ledgerentry USING brin (xid) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX tp_usage_xid ON django_token_pricing_tokenusagelog USING brin (xid) WITH (pages_per_range = 32, autosummarize = on);
