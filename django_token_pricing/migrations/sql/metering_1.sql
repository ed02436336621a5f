-- The metering verbs as one call each. Business outcomes come back as a status and are never raised, because an error
-- would abort the host's transaction. The account's row is locked by a statement of its own, so that every later
-- statement sees what the transaction that we waited for has committed (READ COMMITTED takes a snapshot a statement).

-- The id of the owner's account, made when missing; NULL when there is no such owner.
CREATE FUNCTION tp_account_1(p_user @user_type@, p_pool bigint) RETURNS bigint LANGUAGE plpgsql AS $body$
DECLARE
    v_id bigint;
BEGIN
    FOR v_turn IN 1..2 LOOP
        SELECT a.id INTO v_id FROM django_token_pricing_tokenaccount a WHERE a.user_id = p_user OR a.pool_id = p_pool;
        EXIT WHEN FOUND OR v_turn = 2;
        INSERT INTO django_token_pricing_tokenaccount (user_id, tier, balance, created_at)
            SELECT u.@user_pk@, coalesce((
                SELECT coalesce(nullif(m.tier, ''), m.plan_code) FROM django_token_pricing_subscriptionmirror m
                WHERE m.user_id = p_user AND m.gone_at IS NULL AND m.status IN ('trialing', 'active', 'past_due')
                ORDER BY m.period_starts_at DESC NULLS LAST, m.id DESC LIMIT 1), ''), 0, clock_timestamp()
            FROM @user_table@ u WHERE u.@user_pk@ = p_user
            ON CONFLICT DO NOTHING;
        INSERT INTO django_token_pricing_tokenaccount (pool_id, tier, balance, created_at)
            SELECT p.id, '', 0, clock_timestamp() FROM django_token_pricing_tokenpool p WHERE p.id = p_pool
            ON CONFLICT DO NOTHING;
    END LOOP;
    RETURN v_id;
END $body$;

-- Wait in line for an account that others have locked. All who wait for a row wake whenever it changes, only to find
-- the next one ahead of them; here one wakes, the next in line. Whoever holds the row already never comes here, so the
-- line adds no order of locks to that of the rows.
CREATE FUNCTION tp_queue_1(p_account bigint) RETURNS void LANGUAGE sql AS $body$
    SELECT pg_advisory_xact_lock(1953523825, (p_account % 2147483648)::int)
$body$;

-- What an account's live lots could pay at a moment, in burn order, less what other open holds reserve on them.
CREATE FUNCTION tp_lots_1(p_account bigint, p_now timestamptz, p_hold bigint)
RETURNS TABLE (id bigint, remaining bigint, free bigint) LANGUAGE sql STABLE AS $body$
    SELECT a.id, a.remaining, a.remaining - coalesce(f.held, 0)::bigint
    FROM django_token_pricing_tokenallocation a
    LEFT JOIN (
        SELECT l.allocation_id, sum(l.amount) AS held FROM django_token_pricing_tokenholdlot l
        WHERE l.account_id = p_account AND l.closed_at IS NULL AND l.expires_at > p_now
            AND l.hold_id IS DISTINCT FROM p_hold
        GROUP BY l.allocation_id) f ON f.allocation_id = a.id
    WHERE a.account_id = p_account AND a.is_open
        AND a.starts_at <= p_now AND (a.expires_at IS NULL OR a.expires_at > p_now)
    ORDER BY a.priority, a.expires_at, a.id
$body$;

-- The charged uses of an account since a moment and before another, net of what was refunded; a use that was refunded
-- whole is no request any more. Of a pool: what it used itself and what its members used.
CREATE FUNCTION tp_uses_1(p_account bigint, p_from timestamptz, p_to timestamptz)
RETURNS TABLE (used_at timestamptz, tokens bigint, requests bigint) LANGUAGE sql STABLE AS $body$
    SELECT u.used_at, u.amount - coalesce(r.back, 0)::bigint,
        CASE WHEN u.amount > 0 AND u.amount <= r.back THEN 0 ELSE 1 END::bigint
    FROM (
        SELECT o.id, o.used_at, o.amount FROM django_token_pricing_tokenusagelog o
        WHERE o.account_id = p_account AND o.is_charged
            AND o.used_at >= p_from AND o.used_at < coalesce(p_to, 'infinity')
        UNION ALL
        SELECT m.id, m.used_at, m.amount FROM django_token_pricing_tokenusagelog m
        WHERE m.member_of_id = p_account AND m.is_charged
            AND m.used_at >= p_from AND m.used_at < coalesce(p_to, 'infinity')) u
    LEFT JOIN LATERAL (
        SELECT sum(e.amount) AS back FROM django_token_pricing_ledgerentry e
        WHERE e.usage_id = u.id AND e.kind = 'refund') r ON true
$body$;

-- In PL/pgSQL, which keeps its plan; a function in SQL that is called by itself is planned anew in each transaction.
CREATE FUNCTION tp_used_1(
    p_account bigint, p_from timestamptz, p_to timestamptz, OUT tokens bigint, OUT requests bigint
) LANGUAGE plpgsql STABLE AS $body$
BEGIN
    SELECT coalesce(sum(u.tokens), 0), coalesce(sum(u.requests), 0) INTO tokens, requests
        FROM tp_uses_1(p_account, p_from, p_to) u;
END $body$;

-- Open, unexpired holds of an account but one; of a pool: its own and those of its members.
CREATE FUNCTION tp_open_holds_1(p_account bigint, p_is_pool boolean, p_now timestamptz, p_hold bigint)
RETURNS TABLE (tokens bigint, expires_at timestamptz) LANGUAGE sql STABLE AS $body$
    SELECT h.amount, h.expires_at FROM django_token_pricing_tokenhold h
    WHERE h.account_id = p_account AND h.status = 'open' AND h.expires_at > p_now AND h.id IS DISTINCT FROM p_hold
    UNION ALL
    SELECT h.amount, h.expires_at FROM django_token_pricing_tokenhold h
    WHERE p_is_pool AND h.member_of_id = p_account AND h.status = 'open' AND h.expires_at > p_now
        AND h.id IS DISTINCT FROM p_hold
$body$;

-- After how many seconds no more than a budget of what counts now will count: NULL where waiting does not help.
-- A counter is gone when its window ends, a use of a rolling window when it is older than that, a hold at its ttl.
CREATE FUNCTION tp_wait_1(
    p_account bigint, p_is_pool boolean, p_metric text, p_budget bigint, p_counted bigint,
    p_from timestamptz, p_ends timestamptz, p_length interval, p_now timestamptz, p_hold bigint
) RETURNS int LANGUAGE sql STABLE AS $body$
    SELECT ceil(extract(epoch FROM max(y.gone_at) - p_now))::int FROM (
        SELECT x.gone_at, sum(x.used) OVER (ORDER BY x.gone_at DESC) AS rest FROM (
            SELECT p_ends AS gone_at, p_counted AS used WHERE p_length IS NULL
            UNION ALL
            SELECT u.used_at + p_length + interval '1 microsecond',
                CASE p_metric WHEN 'tokens' THEN u.tokens ELSE u.requests END
            FROM tp_uses_1(p_account, p_from, NULL) u WHERE p_length IS NOT NULL
            UNION ALL
            SELECT o.expires_at, CASE p_metric WHEN 'tokens' THEN o.tokens ELSE 1 END
            FROM tp_open_holds_1(p_account, p_is_pool, p_now, p_hold) o) x) y
    WHERE y.rest > p_budget AND p_budget >= 0 HAVING max(y.gone_at) > p_now
$body$;

-- Whether the limits let a use pass. Of the rules that fit, the most specific one of each metric and window counts.
-- Counters are brought up to the windows of the use, from the log; what the use adds is counted when it is booked.
CREATE FUNCTION tp_limits_1(
    p_verb text, p_own bigint, p_group bigint, p_user text, p_pool text, p_tier text, p_model text, p_feature text,
    p_amount bigint, p_held bigint, p_hold bigint, p_used_at timestamptz, p_now timestamptz,
    p_periods text[], p_starts timestamptz[], p_ends timestamptz[],
    OUT o_status text, OUT o_detail text, OUT o_rule bigint, OUT o_metric text, OUT o_window text, OUT o_limit bigint,
    OUT o_used bigint, OUT o_wait int,
    -- One element a limit that is passed and lets pass, one a counter that reaches its limit or no longer does.
    OUT o_over_accounts bigint[], OUT o_over_rules bigint[], OUT o_over_starts timestamptz[], OUT o_over bigint[],
    OUT o_counters bigint[], OUT o_reached bigint[]
) LANGUAGE plpgsql AS $body$
DECLARE
    v_account bigint; v_is_pool boolean; v_at int; v_start timestamptz; v_end timestamptz; v_length interval;
    v_tokens bigint; v_requests bigint; v_counted bigint; v_used bigint; v_add bigint; v_free bigint; v_over bigint; v_wait int;
    v_own_held bigint; v_own_holds bigint; v_group_held bigint; v_group_holds bigint; v_reached bigint;
    v_is_clear boolean;
    r record; s record;
BEGIN
    -- Mostly nothing is near: one statement says so, and saves the expressions below, each of which a transaction has
    -- to set up anew. What it does not know for certain is left to them.
    SELECT bool_and(w.counting <> 'ledger' OR CASE
            WHEN w.scope = 'pool' THEN false
            WHEN w."window" = 'concurrent' THEN p_verb <> 'hold'
            WHEN w.period = '' THEN w.added <= w."limit"
            ELSE coalesce(w.reached_id IS NULL AND w.starts_at = w.from_at AND w.ends_at IS NOT DISTINCT FROM w.to_at
                AND p_used_at >= w.from_at AND (w.to_at IS NULL OR p_used_at < w.to_at)
                AND w.counted < w."limit" - w.added - CASE w.metric WHEN 'tokens' THEN h.tokens ELSE h.number END, false)
            END)
        INTO v_is_clear
        FROM (
            SELECT DISTINCT ON (l.metric, l."window") l.counting, l.scope, l.metric, l."window", l.period, l."limit",
                c.reached_id, c.starts_at, c.ends_at, CASE l.metric WHEN 'tokens' THEN p_amount ELSE 1 END AS added,
                CASE l.metric WHEN 'tokens' THEN c.tokens ELSE c.requests END AS counted,
                CASE l.period WHEN 'total' THEN '2000-01-01 00:00:00+00'
                    ELSE p_starts[array_position(p_periods, l.period::text)] END AS from_at,
                p_ends[array_position(p_periods, l.period::text)] AS to_at
            FROM django_token_pricing_limitrule l
            LEFT JOIN django_token_pricing_limitcounter c ON c.account_id = p_own AND c.period = l.period
            WHERE l.target IN (p_user, p_pool, p_tier, CASE WHEN p_user IS NOT NULL THEN 'default' END)
                AND l.retired_at IS NULL
                AND (l.model = '' OR l.model = p_model) AND (l.feature = '' OR l.feature = p_feature)
                AND (l.starts_at IS NULL OR l.starts_at <= p_now) AND (l.ends_at IS NULL OR l.ends_at > p_now)
            ORDER BY l.metric, l."window", array_position('{user,pool,tier,default}', l.scope::text),
                l.model = '', l.feature = '') w
        CROSS JOIN (
            SELECT coalesce(sum(o.amount), 0) AS tokens, count(*) AS number FROM django_token_pricing_tokenhold o
            WHERE o.account_id = p_own AND o.status = 'open' AND o.expires_at > p_now
                AND o.id IS DISTINCT FROM p_hold) h;
    IF v_is_clear IS NOT FALSE THEN
        RETURN;
    END IF;
    FOR r IN
        SELECT DISTINCT ON (l.metric, l."window") l.id, l.scope, l.metric, l."window", l.period, l."limit", l.mode,
            l.grace, l.counting, c.id AS counter, c.starts_at, c.ends_at, c.tokens, c.requests, c.reached_id
        FROM django_token_pricing_limitrule l
        LEFT JOIN django_token_pricing_limitcounter c
            ON c.account_id = CASE l.scope WHEN 'pool' THEN p_group ELSE p_own END AND c.period = l.period
        -- Pools have no rules but their own.
        WHERE l.target IN (p_user, p_pool, p_tier, CASE WHEN p_user IS NOT NULL THEN 'default' END)
            AND l.retired_at IS NULL
            AND (l.model = '' OR l.model = p_model) AND (l.feature = '' OR l.feature = p_feature)
            AND (l.starts_at IS NULL OR l.starts_at <= p_now) AND (l.ends_at IS NULL OR l.ends_at > p_now)
        ORDER BY l.metric, l."window", array_position('{user,pool,tier,default}', l.scope::text),
            l.model = '', l.feature = ''
    LOOP
        CONTINUE WHEN r.counting <> 'ledger' OR (r."window" = 'concurrent' AND p_verb <> 'hold');
        v_account := CASE r.scope WHEN 'pool' THEN p_group ELSE p_own END;
        v_is_pool := v_account = p_group;
        v_start := NULL; v_end := NULL; v_length := NULL; v_counted := 0; v_used := 0;

        -- What the window has seen.
        IF r.period <> '' THEN
            IF right(r.period, 1) = '~' THEN
                v_length := CASE r."window" WHEN 'minute' THEN interval '1 minute' WHEN 'hour' THEN interval '1 hour'
                    WHEN 'day' THEN interval '24 hours' WHEN 'week' THEN interval '168 hours'
                    ELSE interval '720 hours' END;
                v_start := p_used_at - v_length;
            ELSIF r.period = 'total' THEN
                v_start := '2000-01-01 00:00:00+00';
            ELSE
                v_at := array_position(p_periods, r.period::text);
                v_start := p_starts[v_at]; v_end := p_ends[v_at];
                IF v_start IS NULL OR p_used_at < v_start OR p_used_at >= v_end THEN
                    o_status := 'windows'; o_detail := concat_ws(',', o_detail, r.period);
                END IF;
            END IF;
        END IF;
        CONTINUE WHEN o_status = 'windows';
        IF r.period <> '' THEN
            IF r.starts_at = v_start AND r.ends_at IS NOT DISTINCT FROM v_end THEN
                v_tokens := r.tokens; v_requests := r.requests;
            ELSIF r.starts_at > p_used_at THEN
                -- It happened before what the counter counts.
                s := tp_used_1(v_account, v_start, CASE WHEN v_length IS NULL THEN v_end ELSE p_used_at + v_length END);
                v_tokens := s.tokens; v_requests := s.requests;
            ELSIF v_length IS NOT NULL AND r.starts_at > v_start THEN
                s := tp_used_1(v_account, v_start, r.starts_at);
                v_tokens := r.tokens + s.tokens; v_requests := r.requests + s.requests;
            ELSIF v_length IS NOT NULL AND r.starts_at > v_start - v_length THEN
                -- The window moves on: what has left it is taken off.
                s := tp_used_1(v_account, r.starts_at, v_start);
                v_tokens := r.tokens - s.tokens; v_requests := r.requests - s.requests;
                UPDATE django_token_pricing_limitcounter
                    SET starts_at = v_start, tokens = v_tokens, requests = v_requests WHERE id = r.counter;
            ELSE
                s := tp_used_1(v_account, v_start, v_end);
                v_tokens := s.tokens; v_requests := s.requests;
                INSERT INTO django_token_pricing_limitcounter AS c
                    (account_id, period, starts_at, ends_at, tokens, requests)
                    VALUES (v_account, r.period, v_start, v_end, v_tokens, v_requests)
                    ON CONFLICT (account_id, period) DO UPDATE SET starts_at = v_start, ends_at = v_end,
                        tokens = v_tokens, requests = v_requests, reached_id = NULL, reached_at = NULL
                    RETURNING c.id, c.reached_id INTO r.counter, r.reached_id;
            END IF;
            v_counted := CASE r.metric WHEN 'tokens' THEN v_tokens ELSE v_requests END;
        END IF;

        -- What is held counts in full.
        IF r."window" <> 'request' THEN
            IF v_is_pool IS TRUE THEN
                IF v_group_held IS NULL THEN
                    SELECT coalesce(sum(o.tokens), 0), count(*) INTO v_group_held, v_group_holds
                        FROM tp_open_holds_1(v_account, true, p_now, p_hold) o;
                END IF;
                v_used := CASE r.metric WHEN 'tokens' THEN v_group_held ELSE v_group_holds END;
            ELSE
                IF v_own_held IS NULL THEN
                    SELECT coalesce(sum(h.amount), 0), count(*) INTO v_own_held, v_own_holds
                        FROM django_token_pricing_tokenhold h
                        WHERE h.account_id = v_account AND h.status = 'open' AND h.expires_at > p_now
                            AND h.id IS DISTINCT FROM p_hold;
                END IF;
                v_used := CASE r.metric WHEN 'tokens' THEN v_own_held ELSE v_own_holds END;
            END IF;
        END IF;
        v_used := v_used + v_counted;

        v_add := CASE r.metric WHEN 'tokens' THEN p_amount ELSE 1 END;
        v_free := r."limit" + r.grace - v_used;
        -- What an open hold reserves has passed already.
        IF r.mode <> 'soft' AND v_add > greatest(v_free, 0)
                AND (p_held IS NULL OR (r.metric = 'tokens' AND v_add > p_held)) THEN
            v_wait := CASE WHEN v_start IS NOT NULL AND r.period <> 'total' THEN
                tp_wait_1(v_account, v_is_pool IS TRUE, r.metric, r."limit" + r.grace - v_add, v_counted,
                    v_start, v_end, v_length, p_now, p_hold) END;
            -- Of several, the one that takes longest.
            IF o_rule IS NULL OR (o_wait IS NOT NULL AND (v_wait IS NULL OR v_wait > o_wait)) THEN
                o_status := CASE WHEN r.mode = 'throttle' AND v_wait IS NOT NULL THEN 'throttled' ELSE 'limit' END;
                o_rule := r.id; o_metric := r.metric; o_window := r."window"; o_limit := r."limit";
                o_used := v_used; o_wait := v_wait;
            END IF;
        END IF;
        -- Beyond the limit is what is used, not what is held; only what is used at the same time is held.
        v_over := v_add - greatest(r."limit" - CASE r."window" WHEN 'concurrent' THEN v_used ELSE v_counted END, 0);
        IF v_over > 0 AND (p_verb <> 'hold' OR r."window" = 'concurrent') THEN
            o_over_accounts := o_over_accounts || v_account; o_over_rules := o_over_rules || r.id;
            o_over := o_over || v_over;
            -- Where a window has no beginning of its own, days stand in.
            o_over_starts := o_over_starts || CASE WHEN v_start IS NULL OR v_length IS NOT NULL
                THEN date_trunc('day', p_used_at, 'UTC') ELSE v_start END;
        END IF;
        IF r.counter IS NOT NULL AND p_verb <> 'hold' THEN
            v_reached := CASE WHEN v_counted >= r."limit" - v_add THEN r.id END;
            IF v_reached IS DISTINCT FROM r.reached_id AND (r.reached_id IS NULL OR r.reached_id = r.id) THEN
                o_counters := o_counters || r.counter; o_reached := array_append(o_reached, v_reached);
            END IF;
        END IF;
    END LOOP;
END $body$;

-- consume, hold and settle: find the tokens in burn order, ask the limits, then book the use or write the hold.
CREATE FUNCTION tp_meter_1(
    p_verb text, p_user @user_type@, p_pool bigint, p_amount bigint, p_digest uuid, p_key text, p_zone text,
    p_ttl interval DEFAULT NULL,
    p_used_at timestamptz DEFAULT NULL, p_provider text DEFAULT NULL, p_model text DEFAULT NULL, p_feature text DEFAULT NULL,
    p_input_tokens bigint DEFAULT NULL, p_output_tokens bigint DEFAULT NULL, p_cached_tokens bigint DEFAULT NULL,
    p_cache_write_tokens bigint DEFAULT NULL, p_reasoning_tokens bigint DEFAULT NULL,
    p_cost numeric DEFAULT NULL, p_metadata jsonb DEFAULT NULL,
    p_periods text[] DEFAULT NULL, p_starts timestamptz[] DEFAULT NULL, p_ends timestamptz[] DEFAULT NULL,
    OUT o_status text, OUT o_detail text, OUT o_account bigint, OUT o_amount bigint, OUT o_available bigint,
    OUT o_spendable bigint, OUT o_cap bigint, OUT o_used bigint, OUT o_booked timestamptz, OUT o_usage bigint,
    OUT o_hold bigint, OUT o_expires timestamptz, OUT o_lots bigint[], OUT o_shares bigint[],
    OUT o_rule bigint, OUT o_metric text, OUT o_window text, OUT o_wait int
) LANGUAGE plpgsql AS $body$
DECLARE
    v_own bigint; v_own_pool bigint; v_balance bigint; v_last timestamptz; v_tier text; v_user @user_type@;
    v_pool bigint; v_pool_balance bigint; v_pool_last timestamptz;
    v_cap bigint; v_cap_left bigint; v_now timestamptz; v_month date;
    v_short bigint; v_free bigint; v_take bigint; v_at int; v_account bigint;
    v_own_taken bigint; v_pool_taken bigint; v_pool_free bigint;
    v_after bigint; v_member bigint; v_used_at timestamptz;
    -- Limits: the pool in which the user is, whether its own limits count this use, whether there are rules or counters.
    v_group bigint; v_group_key bigint; v_is_grouped boolean := false; v_is_ruled boolean; v_is_counted boolean;
    -- One element a lot that pays: its id, its account, what it pays, what is left in it.
    v_ids bigint[]; v_accounts bigint[]; v_takes bigint[]; v_lefts bigint[];
    k django_token_pricing_idempotencykey%ROWTYPE; h django_token_pricing_tokenhold%ROWTYPE; r record; v_limits record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        o_status := 'isolation'; o_detail := current_setting('transaction_isolation');
        RETURN;
    END IF;
    o_amount := p_amount;

    <<fresh>> BEGIN
        -- Said before? An answer that stands needs no lock.
        IF p_digest IS NOT NULL THEN
            SELECT * INTO k FROM django_token_pricing_idempotencykey WHERE digest = p_digest;
            IF FOUND AND p_verb <> 'settle' THEN
                SELECT id INTO v_own FROM django_token_pricing_tokenaccount
                    WHERE id = k.account_id AND (user_id = p_user OR pool_id = p_pool);
                EXIT fresh WHEN FOUND;
            END IF;
        END IF;

        -- Lock the account, alone: at once, or in line where others hold it.
        IF p_verb = 'settle' THEN
            IF k.verb IS DISTINCT FROM 'hold' THEN
                o_status := CASE WHEN k.verb IS NULL THEN 'unknown_key' ELSE 'conflict' END; o_detail := k.verb;
                RETURN;
            END IF;
            v_account := k.account_id;
            SELECT id, balance, booked_at, tier, user_id, pool_id INTO v_own, v_balance, v_last, v_tier, v_user, v_own_pool
                FROM django_token_pricing_tokenaccount WHERE id = v_account FOR NO KEY UPDATE SKIP LOCKED;
        ELSIF p_pool IS NULL THEN
            SELECT id, balance, booked_at, tier, user_id, pool_id INTO v_own, v_balance, v_last, v_tier, v_user, v_own_pool
                FROM django_token_pricing_tokenaccount WHERE user_id = p_user FOR NO KEY UPDATE SKIP LOCKED;
        ELSE
            SELECT id, balance, booked_at, tier, user_id, pool_id INTO v_own, v_balance, v_last, v_tier, v_user, v_own_pool
                FROM django_token_pricing_tokenaccount WHERE pool_id = p_pool FOR NO KEY UPDATE SKIP LOCKED;
        END IF;
        IF v_own IS NULL THEN
            v_account := coalesce(v_account, tp_account_1(p_user, p_pool));
            PERFORM tp_queue_1(v_account);
            SELECT id, balance, booked_at, tier, user_id, pool_id INTO v_own, v_balance, v_last, v_tier, v_user, v_own_pool
                FROM django_token_pricing_tokenaccount WHERE id = v_account FOR NO KEY UPDATE;
            IF v_own IS NULL OR (p_verb <> 'settle' AND v_user IS DISTINCT FROM p_user) THEN
                -- There is no such owner, or the user was deleted while we waited.
                o_status := 'unknown_owner';
                RETURN;
            END IF;
        END IF;

        IF p_verb = 'settle' THEN
            SELECT * INTO h FROM django_token_pricing_tokenhold WHERE id = k.hold_id;
            o_hold := h.id;
            EXIT fresh WHEN h.status = 'settled' AND h.settled_amount = p_amount;
            IF h.status IN ('settled', 'released') THEN
                o_account := v_own; o_status := h.status; o_detail := h.settled_amount::text;
                RETURN;
            END IF;
            -- Past its ttl this is a plain consume: it draws on the pool that the user is in now.
            SELECT l.account_id INTO v_pool FROM django_token_pricing_tokenholdlot l
                WHERE l.hold_id = h.id AND l.account_id <> v_own AND h.status = 'open'
                    AND h.expires_at > clock_timestamp() LIMIT 1;
        ELSIF k.digest IS NOT NULL THEN
            -- The key is another owner's.
            EXIT fresh;
        END IF;

        SELECT EXISTS (SELECT FROM django_token_pricing_limitrule WHERE slot IS NOT NULL),
            EXISTS (SELECT FROM django_token_pricing_limitcounter WHERE account_id = v_own),
            (SELECT pool_id FROM django_token_pricing_poolmember WHERE user_id = v_user)
            INTO v_is_ruled, v_is_counted, v_group_key;
        IF v_group_key IS NOT NULL THEN
            SELECT pa.id INTO v_group FROM django_token_pricing_tokenaccount pa
                JOIN django_token_pricing_tokenpool p ON p.id = pa.pool_id AND p.is_active WHERE pa.pool_id = v_group_key;
            v_is_grouped := v_is_ruled AND v_group IS NOT NULL AND EXISTS (
                SELECT FROM django_token_pricing_limitrule
                WHERE target = 'pool:' || v_group_key AND retired_at IS NULL AND counting = 'ledger');
            IF v_is_grouped THEN
                -- A hold may be on another pool than the one that counts.
                FOREACH v_account IN ARRAY ARRAY[least(v_group, v_pool), greatest(v_group, v_pool)] LOOP
                    PERFORM FROM django_token_pricing_tokenaccount WHERE id = v_account FOR NO KEY UPDATE SKIP LOCKED;
                    IF NOT FOUND THEN
                        PERFORM tp_queue_1(v_account);
                        PERFORM FROM django_token_pricing_tokenaccount WHERE id = v_account FOR NO KEY UPDATE;
                    END IF;
                END LOOP;
            END IF;
        END IF;

        -- Find the tokens: what the hold reserves, then own lots; where these do not suffice, once more with the pool's.
        LOOP
            IF v_pool IS NOT NULL THEN
                SELECT balance, booked_at INTO v_pool_balance, v_pool_last
                    FROM django_token_pricing_tokenaccount WHERE id = v_pool FOR NO KEY UPDATE SKIP LOCKED;
                IF NOT FOUND THEN
                    PERFORM tp_queue_1(v_pool);
                    SELECT balance, booked_at INTO v_pool_balance, v_pool_last
                        FROM django_token_pricing_tokenaccount WHERE id = v_pool FOR NO KEY UPDATE;
                END IF;
            END IF;
            -- The clock is read under the locks, and an account's moments only rise.
            v_now := greatest(clock_timestamp(), v_last + interval '1 microsecond', v_pool_last + interval '1 microsecond');
            v_ids := '{}'; v_accounts := '{}'; v_takes := '{}'; v_lefts := '{}';
            v_short := p_amount; v_own_taken := 0; v_pool_taken := 0; v_pool_free := 0; o_available := 0;

            IF h.status = 'open' AND h.expires_at > v_now THEN
                FOR r IN SELECT l.allocation_id AS id, l.account_id, l.amount, a.remaining
                        FROM django_token_pricing_tokenholdlot l
                        JOIN django_token_pricing_tokenallocation a ON a.id = l.allocation_id
                        WHERE l.hold_id = h.id ORDER BY l.id LOOP
                    v_take := least(r.amount, v_short);
                    EXIT WHEN v_take = 0;
                    v_short := v_short - v_take;
                    v_ids := v_ids || r.id; v_accounts := v_accounts || r.account_id;
                    v_takes := v_takes || v_take; v_lefts := v_lefts || r.remaining - v_take;
                    IF r.account_id = v_own THEN
                        v_own_taken := v_own_taken + v_take;
                    ELSE
                        v_pool_taken := v_pool_taken + v_take;
                    END IF;
                END LOOP;
            END IF;

            FOREACH v_account IN ARRAY ARRAY[v_own, v_pool] LOOP
                EXIT WHEN v_account IS NULL;
                v_cap_left := NULL;
                IF v_account = v_pool THEN
                    EXIT WHEN v_short = 0;
                    SELECT m.monthly_cap INTO v_cap FROM django_token_pricing_poolmember m
                        JOIN django_token_pricing_tokenpool p ON p.id = m.pool_id AND p.is_active
                        JOIN django_token_pricing_tokenaccount pa ON pa.pool_id = m.pool_id AND pa.id = v_pool
                        WHERE m.user_id = v_user;
                    EXIT WHEN NOT FOUND;
                    IF v_cap IS NOT NULL THEN
                        v_month := date_trunc('month', v_now AT TIME ZONE p_zone);
                        o_used := v_pool_taken + coalesce((
                            SELECT d.drawn FROM django_token_pricing_pooldraw d
                            WHERE d.pool_id = v_pool AND d.member_id = v_own AND d.month = v_month), 0) + coalesce((
                            SELECT sum(l.amount) FROM django_token_pricing_tokenholdlot l
                            JOIN django_token_pricing_tokenhold lh ON lh.id = l.hold_id AND lh.account_id = v_own
                            WHERE l.account_id = v_pool AND l.closed_at IS NULL AND l.expires_at > v_now
                                AND l.hold_id IS DISTINCT FROM h.id), 0);
                        v_cap_left := greatest(v_cap - o_used, 0);
                    END IF;
                END IF;
                FOR r IN SELECT * FROM tp_lots_1(v_account, v_now, h.id) LOOP
                    v_at := array_position(v_ids, r.id);
                    v_free := r.free - coalesce(v_takes[v_at], 0);
                    v_take := least(v_free, v_short, v_cap_left);
                    IF v_account = v_own THEN
                        o_available := o_available + v_free - v_take; v_own_taken := v_own_taken + v_take;
                    ELSE
                        v_pool_free := v_pool_free + v_free - v_take; v_pool_taken := v_pool_taken + v_take;
                        v_cap_left := v_cap_left - v_take;
                    END IF;
                    CONTINUE WHEN v_take = 0;
                    v_short := v_short - v_take;
                    IF v_at IS NULL THEN
                        v_ids := v_ids || r.id; v_accounts := v_accounts || v_account;
                        v_takes := v_takes || v_take; v_lefts := v_lefts || r.remaining - v_take;
                    ELSE
                        v_takes[v_at] := v_takes[v_at] + v_take; v_lefts[v_at] := v_lefts[v_at] - v_take;
                    END IF;
                END LOOP;
            END LOOP;

            EXIT WHEN v_short = 0 OR v_pool IS NOT NULL;
            SELECT pa.id INTO v_pool FROM django_token_pricing_poolmember m
                JOIN django_token_pricing_tokenpool p ON p.id = m.pool_id AND p.is_active
                JOIN django_token_pricing_tokenaccount pa ON pa.pool_id = m.pool_id
                WHERE m.user_id = v_user;
            EXIT WHEN NOT FOUND;
        END LOOP;

        -- The limits come before the balance: what they say does not depend on it.
        v_used_at := coalesce(p_used_at, h.used_at, v_now);
        IF v_is_ruled THEN
            v_limits := tp_limits_1(p_verb, v_own, CASE WHEN v_own_pool IS NULL THEN v_group ELSE v_own END,
                'user:' || v_user, 'pool:' || coalesce(v_own_pool, CASE WHEN v_group IS NOT NULL THEN v_group_key END),
                'tier:' || nullif(v_tier, ''), coalesce(p_model, h.model, ''), coalesce(p_feature, h.feature, ''),
                p_amount, CASE WHEN h.status = 'open' AND h.expires_at > v_now THEN h.amount END, h.id,
                v_used_at, v_now, p_periods, p_starts, p_ends);
            IF v_limits.o_status IS NOT NULL THEN
                IF p_verb <> 'settle' AND p_digest IS NOT NULL THEN
                    -- Perhaps the very same call was counted while we waited for the lock.
                    SELECT * INTO k FROM django_token_pricing_idempotencykey WHERE digest = p_digest;
                    EXIT fresh WHEN FOUND;
                END IF;
                o_status := v_limits.o_status; o_detail := v_limits.o_detail; o_account := v_own;
                o_booked := CASE v_limits.o_status WHEN 'windows' THEN v_used_at ELSE v_now END;
                o_rule := v_limits.o_rule; o_metric := v_limits.o_metric; o_window := v_limits.o_window; o_cap := v_limits.o_limit;
                o_used := v_limits.o_used; o_wait := v_limits.o_wait;
                RETURN;
            END IF;
        END IF;

        IF v_short > 0 THEN
            IF p_verb <> 'settle' AND p_digest IS NOT NULL THEN
                -- Perhaps the very same call took it while we waited for the lock.
                SELECT * INTO k FROM django_token_pricing_idempotencykey WHERE digest = p_digest;
                EXIT fresh WHEN FOUND;
            END IF;
            -- All that could be had was taken on paper, so that is what can be spent.
            o_account := v_own; o_spendable := p_amount - v_short; o_available := o_available + v_own_taken; o_cap := v_cap;
            o_booked := v_now;
            o_status := CASE WHEN v_pool_free >= v_short THEN 'cap' ELSE 'insufficient' END;
            RETURN;
        END IF;

        o_status := 'ok'; o_account := v_own; o_booked := v_now;
        IF p_verb = 'hold' THEN
            o_hold := nextval('django_token_pricing_tokenhold_id_seq'); o_expires := v_now + p_ttl;
        ELSE
            o_usage := nextval('django_token_pricing_tokenusagelog_id_seq');
        END IF;
        IF p_verb <> 'settle' AND p_digest IS NOT NULL THEN
            INSERT INTO django_token_pricing_idempotencykey
                (digest, verb, account_id, amount, detail, available_after, booked_at, usage_id, hold_id)
                VALUES (p_digest, p_verb, v_own, p_amount, '', o_available, v_now, o_usage, o_hold)
                ON CONFLICT (digest) DO NOTHING;
            IF NOT FOUND THEN
                -- Said while we waited for the lock, or by another owner at this very moment. Nothing is written yet.
                SELECT * INTO k FROM django_token_pricing_idempotencykey WHERE digest = p_digest;
                EXIT fresh;
            END IF;
        END IF;

        IF v_is_ruled THEN
            FOR v_at IN 1..coalesce(cardinality(v_limits.o_over), 0) LOOP
                INSERT INTO django_token_pricing_limitoverage AS o (account_id, rule_id, starts_at, amount, uses, last_at)
                    VALUES (v_limits.o_over_accounts[v_at], v_limits.o_over_rules[v_at], v_limits.o_over_starts[v_at], v_limits.o_over[v_at], 1, v_now)
                    ON CONFLICT (account_id, rule_id, starts_at) DO UPDATE
                        SET amount = o.amount + excluded.amount, uses = o.uses + 1, last_at = excluded.last_at;
            END LOOP;
            FOR v_at IN 1..coalesce(cardinality(v_limits.o_counters), 0) LOOP
                UPDATE django_token_pricing_limitcounter
                    SET reached_id = v_limits.o_reached[v_at], reached_at = CASE WHEN v_limits.o_reached[v_at] IS NOT NULL THEN v_now END
                    WHERE id = v_limits.o_counters[v_at] AND starts_at <= v_used_at;
            END LOOP;
        END IF;

        IF p_verb = 'hold' THEN
            INSERT INTO django_token_pricing_tokenhold
                (id, account_id, member_of_id, key, amount, status, booked_at, expires_at, available_after,
                 used_at, provider, model, feature, input_tokens, output_tokens, cached_tokens, cache_write_tokens,
                 reasoning_tokens, cost, metadata)
                VALUES (o_hold, v_own, v_group, p_key, p_amount, 'open', v_now, o_expires, o_available,
                 p_used_at, coalesce(p_provider, ''), coalesce(p_model, ''), coalesce(p_feature, ''), p_input_tokens, p_output_tokens,
                 p_cached_tokens, p_cache_write_tokens, p_reasoning_tokens, p_cost,
                 coalesce(p_metadata, '{}'));
            INSERT INTO django_token_pricing_tokenholdlot (hold_id, account_id, allocation_id, amount, expires_at)
                SELECT o_hold, x.account, x.lot, x.take, o_expires
                FROM unnest(v_accounts, v_ids, v_takes) AS x (account, lot, take);
            UPDATE django_token_pricing_tokenaccount SET booked_at = v_now WHERE id = v_own;
            IF v_pool_taken > 0 THEN
                UPDATE django_token_pricing_tokenaccount SET booked_at = v_now WHERE id = v_pool;
            END IF;
            RETURN;
        END IF;

        INSERT INTO django_token_pricing_tokenusagelog
            (id, account_id, pool_id, member_of_id, amount, is_charged, used_at, booked_at, tier, key,
             provider, model, feature, input_tokens, output_tokens, cached_tokens, cache_write_tokens,
             reasoning_tokens, cost, metadata)
            VALUES (o_usage, v_own, CASE WHEN v_pool_taken > 0 THEN v_pool END, v_group, p_amount, true,
             v_used_at, v_now, v_tier, p_key,
             coalesce(p_provider, h.provider, ''), coalesce(p_model, h.model, ''), coalesce(p_feature, h.feature, ''),
             coalesce(p_input_tokens, h.input_tokens), coalesce(p_output_tokens, h.output_tokens),
             coalesce(p_cached_tokens, h.cached_tokens), coalesce(p_cache_write_tokens, h.cache_write_tokens),
             coalesce(p_reasoning_tokens, h.reasoning_tokens), coalesce(p_cost, h.cost),
             coalesce(p_metadata, h.metadata, '{}'));
        IF v_is_ruled OR v_is_counted THEN
            UPDATE django_token_pricing_limitcounter SET tokens = tokens + p_amount, requests = requests + 1
                WHERE account_id = v_own AND starts_at <= v_used_at AND (ends_at IS NULL OR ends_at > v_used_at);
        END IF;
        IF v_is_grouped THEN
            UPDATE django_token_pricing_limitcounter SET tokens = tokens + p_amount, requests = requests + 1
                WHERE account_id = v_group AND starts_at <= v_used_at AND (ends_at IS NULL OR ends_at > v_used_at);
        END IF;
        IF p_verb = 'settle' AND v_pool_taken > 0 THEN
            -- Own lots beyond the hold were found after the pool's lines; they still pay first.
            SELECT array_agg(x.lot ORDER BY x.account <> v_own, x.place), array_agg(x.take ORDER BY x.account <> v_own, x.place),
                array_agg(x.rest ORDER BY x.account <> v_own, x.place), array_agg(x.account ORDER BY x.account <> v_own, x.place)
                INTO v_ids, v_takes, v_lefts, v_accounts
                FROM unnest(v_ids, v_accounts, v_takes, v_lefts) WITH ORDINALITY AS x (lot, account, take, rest, place);
        END IF;
        o_lots := v_ids; o_shares := v_takes;
        -- A statement a lot, mostly one: with scalars the plans are kept, while one over unnest() is planned at every call.
        FOR v_at IN 1..cardinality(v_ids) LOOP
            IF v_accounts[v_at] = v_own THEN
                v_balance := v_balance - v_takes[v_at]; v_after := v_balance; v_member := NULL;
            ELSE
                v_pool_balance := v_pool_balance - v_takes[v_at]; v_after := v_pool_balance; v_member := v_own;
            END IF;
            UPDATE django_token_pricing_tokenallocation SET remaining = v_lefts[v_at], is_open = v_lefts[v_at] > 0
                WHERE id = v_ids[v_at];
            INSERT INTO django_token_pricing_ledgerentry
                (account_id, allocation_id, kind, amount, lot_balance, balance_after, booked_at, usage_id, member_id)
                VALUES (v_accounts[v_at], v_ids[v_at], 'consume', -v_takes[v_at], v_lefts[v_at], v_after, v_now, o_usage,
                 v_member);
        END LOOP;
        UPDATE django_token_pricing_tokenaccount SET balance = v_balance, booked_at = v_now WHERE id = v_own;
        IF v_pool_taken > 0 THEN
            INSERT INTO django_token_pricing_pooldraw AS d (pool_id, member_id, month, drawn)
                VALUES (v_pool, v_own, date_trunc('month', v_now AT TIME ZONE p_zone), v_pool_taken)
                ON CONFLICT (pool_id, member_id, month) DO UPDATE SET drawn = d.drawn + excluded.drawn;
        END IF;
        IF v_pool IS NOT NULL THEN
            UPDATE django_token_pricing_tokenaccount SET balance = v_pool_balance, booked_at = v_now WHERE id = v_pool;
        END IF;
        IF p_verb = 'settle' THEN
            UPDATE django_token_pricing_tokenhold
                SET status = 'settled', closed_at = v_now, settled_amount = p_amount, closed_available = o_available,
                    usage_id = o_usage
                WHERE id = h.id;
            UPDATE django_token_pricing_tokenholdlot SET closed_at = v_now WHERE hold_id = h.id AND closed_at IS NULL;
        END IF;
        RETURN;
    END fresh;

    -- The first answer again, if the facts are the same.
    o_account := v_own;
    IF p_verb = 'settle' THEN
        o_booked := h.closed_at; o_usage := h.usage_id; o_available := h.closed_available;
    ELSIF k.verb <> p_verb OR k.account_id <> v_own OR k.amount IS DISTINCT FROM p_amount THEN
        o_status := 'conflict'; o_detail := k.verb;
        RETURN;
    ELSE
        o_booked := k.booked_at; o_usage := k.usage_id; o_hold := k.hold_id; o_available := k.available_after;
        IF o_hold IS NOT NULL THEN
            SELECT expires_at INTO o_expires FROM django_token_pricing_tokenhold WHERE id = o_hold;
        END IF;
    END IF;
    o_status := 'replay';
    SELECT array_agg(e.allocation_id ORDER BY e.id), array_agg(-e.amount ORDER BY e.id) INTO o_lots, o_shares
        FROM django_token_pricing_tokenusagelog u
        JOIN django_token_pricing_ledgerentry e ON e.account_id IN (u.account_id, u.pool_id)
            AND e.booked_at = u.booked_at AND e.usage_id = u.id
        WHERE u.id = o_usage;
END $body$;

-- Give a hold back. Past its ttl it reserves nothing, so nothing comes back.
CREATE FUNCTION tp_release_1(
    p_digest uuid,
    OUT o_status text, OUT o_detail text, OUT o_account bigint, OUT o_amount bigint, OUT o_available bigint,
    OUT o_booked timestamptz, OUT o_hold bigint
) LANGUAGE plpgsql AS $body$
DECLARE
    v_last timestamptz; v_pool bigint; v_pool_last timestamptz;
    k django_token_pricing_idempotencykey%ROWTYPE; h django_token_pricing_tokenhold%ROWTYPE;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        o_status := 'isolation'; o_detail := current_setting('transaction_isolation');
        RETURN;
    END IF;
    SELECT * INTO k FROM django_token_pricing_idempotencykey WHERE digest = p_digest;
    IF NOT FOUND OR k.verb <> 'hold' THEN
        o_status := CASE WHEN FOUND THEN 'conflict' ELSE 'unknown_key' END; o_detail := k.verb;
        RETURN;
    END IF;
    SELECT booked_at INTO v_last FROM django_token_pricing_tokenaccount WHERE id = k.account_id FOR NO KEY UPDATE;
    SELECT * INTO h FROM django_token_pricing_tokenhold WHERE id = k.hold_id;
    o_account := h.account_id; o_hold := h.id;
    IF h.status = 'settled' THEN
        o_status := 'settled'; o_detail := h.settled_amount::text;
        RETURN;
    ELSIF h.status = 'released' THEN
        o_status := 'replay'; o_booked := h.closed_at; o_available := h.closed_available;
        o_amount := CASE WHEN h.closed_at < h.expires_at THEN h.amount ELSE 0 END;
        RETURN;
    END IF;
    SELECT l.account_id INTO v_pool FROM django_token_pricing_tokenholdlot l
        WHERE l.hold_id = h.id AND l.account_id <> h.account_id LIMIT 1;
    IF v_pool IS NOT NULL THEN
        SELECT booked_at INTO v_pool_last FROM django_token_pricing_tokenaccount WHERE id = v_pool FOR NO KEY UPDATE;
    END IF;
    o_status := 'ok';
    o_booked := greatest(clock_timestamp(), v_last + interval '1 microsecond', v_pool_last + interval '1 microsecond');
    o_amount := CASE WHEN o_booked < h.expires_at THEN h.amount ELSE 0 END;
    SELECT coalesce(sum(free), 0) INTO o_available FROM tp_lots_1(h.account_id, o_booked, h.id);
    UPDATE django_token_pricing_tokenhold
        SET status = 'released', closed_at = o_booked, closed_available = o_available WHERE id = h.id;
    UPDATE django_token_pricing_tokenholdlot SET closed_at = o_booked WHERE hold_id = h.id AND closed_at IS NULL;
    UPDATE django_token_pricing_tokenaccount SET booked_at = o_booked WHERE id = h.account_id OR id = v_pool;
END $body$;
