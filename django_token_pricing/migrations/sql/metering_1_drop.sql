DROP FUNCTION tp_release_1(uuid);
DROP FUNCTION tp_meter_1(
    text, @user_type@, bigint, bigint, uuid, text, text, interval, timestamptz, text, text, text, bigint, bigint,
    bigint, bigint, bigint, numeric, jsonb, text[], timestamptz[], timestamptz[]);
DROP FUNCTION tp_limits_1(
    text, bigint, bigint, text, text, text, text, text, bigint, bigint, bigint, timestamptz, timestamptz, text[],
    timestamptz[], timestamptz[]);
DROP FUNCTION tp_wait_1(
    bigint, boolean, text, bigint, bigint, timestamptz, timestamptz, interval, timestamptz, bigint);
DROP FUNCTION tp_open_holds_1(bigint, boolean, timestamptz, bigint);
DROP FUNCTION tp_used_1(bigint, timestamptz, timestamptz);
DROP FUNCTION tp_uses_1(bigint, timestamptz, timestamptz);
DROP FUNCTION tp_queue_1(bigint);
DROP FUNCTION tp_lots_1(bigint, timestamptz, bigint);
DROP FUNCTION tp_account_1(@user_type@, bigint);
