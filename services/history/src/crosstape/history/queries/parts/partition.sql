    -- The bus's partition of a market, which the bus finds by this hash of its key.
    bitAnd(kafkaMurmurHash(concat(exchange, ':', symbol)), 2147483647) % {partitions:UInt32}
