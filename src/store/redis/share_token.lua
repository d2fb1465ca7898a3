-- Shares a fresh token and ends the lead. KEYS: token, refresh. ARGV: owner, JSON, life ms.
-- A refresher that was overtaken writes nothing, and answers 0: its token may be the older one.
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  redis.call('DEL', KEYS[2])
  return 1
end
return 0
