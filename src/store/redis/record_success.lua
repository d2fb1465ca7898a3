-- Records a success, whoever claims the login. KEYS: result, claim. ARGV: ttl ms, JSON.
-- It replaces a failure, and nothing replaces a success. Answers 1, or 0 when there was one.
if not redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[1]) then
  local readable, earlier = pcall(cjson.decode, redis.call('GET', KEYS[1]))
  if readable and type(earlier) == 'table' and earlier.status == 'succeeded' then
    return 0
  end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
end
redis.call('DEL', KEYS[2])
return 1
