DROP INDEX tp_usage_xid;
DROP INDEX tp_entry_xid;
DROP INDEX tp_usage_used;
DROP INDEX tp_entry_booked;
ALTER TABLE django_token_pricing_limitcounter RESET (fillfactor);
ALTER TABLE django_token_pricing_tokenhold RESET (fillfactor);
ALTER TABLE django_token_pricing_tokenallocation RESET (fillfactor);
ALTER TABLE django_token_pricing_tokenaccount RESET (fillfactor);
