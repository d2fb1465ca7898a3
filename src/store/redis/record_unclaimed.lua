-- Records the failure of a login that is not to be asked, if nobody has ever claimed it. KEYS: result, claim.
-- ARGV: ttl ms, JSON. Answers written | recorded, where there was a result | claimed.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 'recorded'
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 'claimed'
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
return 'written'
