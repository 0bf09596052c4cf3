-- The same trades as `trades`, in the types of Arrow.
SELECT
    if(trade_uid = '', toString(trade_seq), trade_uid) AS trade_id,
    time AS timestamp,
    price,
    quantity,
    multiIf(side = 1, 'buy', side = -1, 'sell', 'unknown') AS side,
    trade_seq,
    trade_uid
$trade_page
