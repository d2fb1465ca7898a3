-- Leads the refreshing of a token, or goes on leading it. KEYS: refresh. ARGV: leader, lease ms. Answers 1, or 0 when
-- someone else is at it.
local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
