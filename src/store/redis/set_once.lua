-- Sets a key that nobody has set. KEYS: the key. ARGV: value, life ms. Answers the value that it had before.
local earlier = redis.call('GET', KEYS[1])
if not earlier then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return earlier
