-- Entries and usage are final, and a lot keeps what it was granted with. These triggers stand against accidents, not
-- against the owner of the schema; there is none on TRUNCATE, which hosts' TransactionTestCases need. Erasing personal
-- data and pruning old history set token_pricing.maintenance for their own transaction.
CREATE FUNCTION tp_append_only_1() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF current_setting('token_pricing.maintenance', true) = 'on' THEN
        RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    END IF;
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation',
        HINT = 'Book a refund or a counter entry; tokens.erase() and tokens.prune() serve privacy and retention.';
END $body$;

CREATE TRIGGER tp_entry_append_only BEFORE UPDATE OR DELETE ON django_token_pricing_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION tp_append_only_1();
CREATE TRIGGER tp_usage_append_only BEFORE UPDATE OR DELETE ON django_token_pricing_tokenusagelog
    FOR EACH ROW EXECUTE FUNCTION tp_append_only_1();
CREATE TRIGGER tp_allocation_fixed
    BEFORE UPDATE OF account_id, source, amount, priority, starts_at, expires_at, booked_at, parent_id
    ON django_token_pricing_tokenallocation FOR EACH ROW
    WHEN ((OLD.account_id, OLD.source, OLD.amount, OLD.priority, OLD.starts_at, OLD.expires_at, OLD.booked_at,
           OLD.parent_id)
        IS DISTINCT FROM (NEW.account_id, NEW.source, NEW.amount, NEW.priority, NEW.starts_at, NEW.expires_at,
           NEW.booked_at, NEW.parent_id))
    EXECUTE FUNCTION tp_append_only_1();
