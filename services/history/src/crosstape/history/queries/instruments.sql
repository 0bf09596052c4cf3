SELECT instruments
FROM instruments FINAL
WHERE exchange = {exchange:String}
