-- A page of trades as JSON and CSV show them.
SELECT
    if(trade_uid = '', trade_seq::Variant(String, UInt64), trade_uid::Variant(String, UInt64)) AS trade_id,
    toUnixTimestamp64Micro(time) / 1000000 AS timestamp,
    price,
    quantity,
    multiIf(side = 1, 'buy', side = -1, 'sell', 'unknown') AS side
$trade_page
