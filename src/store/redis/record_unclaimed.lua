-- Records the failure of a login that is not to be asked, if nobody has ever claimed it. KEYS: result, claim.
-- ARGV: ttl ms, JSON. Answers nothing where it is written, else recorded, where there was a result | claimed.
if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
  return false
end
local status = status_of(KEYS[1])
if status and status ~= 'odd' then
  return 'recorded'
elseif redis.call('EXISTS', KEYS[2]) == 1 then
  return 'claimed'
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
return false
