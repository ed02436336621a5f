DROP FUNCTION tp_release_1(uuid);
DROP FUNCTION tp_meter_1(
    text, @user_type@, bigint, bigint, uuid, text, text, interval, timestamptz, text, text, bigint, bigint, bigint,
    numeric, jsonb);
DROP FUNCTION tp_queue_1(bigint);
DROP FUNCTION tp_lots_1(bigint, timestamptz, bigint);
DROP FUNCTION tp_account_1(@user_type@, bigint);
