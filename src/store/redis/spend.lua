-- Takes one out of a budget. KEYS: when it was spent (a sorted set). ARGV: how many, in how many ms, how far apart in ms,
-- id, and the time in ms by the caller's clock, which counts if Redis does not tell the time. Answers 1, or 0 when there
-- is none.
local time = redis.pcall('TIME')
local now = time.err and tonumber(ARGV[5]) or time[1] * 1000 + math.floor(time[2] / 1000)
local within = tonumber(ARGV[2])
local swept = redis.pcall('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - within)
if type(swept) == 'table' then
  if not string.find(swept.err, 'WRONGTYPE', 1, true) then
    return swept
  end
  -- It holds nothing of ours.
  redis.call('DEL', KEYS[1])
end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then
  return 0
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] and tonumber(last[2]) > now - tonumber(ARGV[3]) then
  return 0
end
redis.call('ZADD', KEYS[1], now, ARGV[4])
redis.call('PEXPIRE', KEYS[1], within)
return 1
