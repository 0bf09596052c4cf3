-- Take tokens from buckets, in order (GCRA; rates.py has the same rule in Python).
-- KEYS: a bucket each; it holds when it will be full again, in microseconds of this server's clock, and ends then.
-- ARGV: three for each key: microseconds a token takes, burst, cost.
-- Answers 16 bytes for each key: microseconds until it is full, and by how many the request came too soon (0: taken).
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answers = {}
for number, key in ipairs(KEYS) do
    local interval = tonumber(ARGV[3 * number - 2])
    local burst = tonumber(ARGV[3 * number - 1])
    local cost = tonumber(ARGV[3 * number])
    local full_at = math.max(tonumber(redis.call('GET', key) or now), now)
    local new = full_at + cost * interval
    local early = new - burst * interval - now
    if early > 0 then
        answers[number] = struct.pack('<dd', full_at - now, early)
    else
        redis.call('SET', key, string.format('%.0f', new), 'PX', math.ceil((new - now) / 1000) + 1)
        answers[number] = struct.pack('<dd', new - now, 0)
    end
end
return table.concat(answers)
