-- Binds a code to a request. KEYS: code. ARGV: request id, life ms. Answers the request that it was bound to before.
local earlier = redis.call('GET', KEYS[1])
if not earlier then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return earlier
