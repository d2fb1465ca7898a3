-- Ends a lead without a token. KEYS: refresh, refusal. ARGV: leader, and where the others are to know why: JSON, life ms.
if redis.pcall('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  if ARGV[2] then
    redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
  end
end
