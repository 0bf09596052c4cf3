-- One step of throttling: check, failed or succeeded. Answers milliseconds to wait. The rules are Policy's (throttle.py).
-- KEYS: the account's count, the account's at this address, the address's, the mark that the account is known there
-- ARGV: step, seconds a mark lives, then free, drain, cap, first, most of the account's policy and of the address's
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local account = redis.call('EXISTS', KEYS[4]) == 1 and KEYS[2] or KEYS[1]

if ARGV[1] == 'succeeded' then
    redis.call('DEL', account)
    redis.call('SET', KEYS[4], '1', 'EX', ARGV[2])
    return 0
end

local longest = 0
for position, key in ipairs({account, KEYS[3]}) do
    local known = redis.call('HMGET', key, 'count', 'at', 'until')
    if ARGV[1] == 'check' then
        longest = math.max(longest, tonumber(known[3] or 0) - now)
    else
        local policy = 2 + (position - 1) * 5
        local free, drain = tonumber(ARGV[policy + 1]), tonumber(ARGV[policy + 2])
        local cap, first, most = tonumber(ARGV[policy + 3]), tonumber(ARGV[policy + 4]), tonumber(ARGV[policy + 5])
        local age = now - tonumber(known[2] or now)
        local count = math.min(math.max(0, tonumber(known[1] or 0) - age / drain) + 1, most)
        local delay = 0
        if count > free then delay = math.min(cap, first * 2 ^ (math.ceil(count - free) - 1)) end
        redis.call('HSET', key, 'count', string.format('%.6f', count), 'at', string.format('%.6f', now),
            'until', string.format('%.6f', now + delay))
        redis.call('PEXPIRE', key, math.ceil((count * drain + delay) * 1000))
        longest = math.max(longest, delay)
    end
end
return math.ceil(longest * 1000)
