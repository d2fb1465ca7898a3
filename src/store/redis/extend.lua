-- Renews a lease before asking again. KEYS: result, claim. ARGV: owner, times asked, lease ms. Answers 1, or 0 when the
-- claim is someone else's.
if redis.call('HGET', KEYS[2], 'owner') ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[2], 'asked', ARGV[2], 'until', now + ARGV[3])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
return 1
