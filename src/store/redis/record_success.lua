-- Records a success, whoever claims the login. KEYS: result, claim. ARGV: ttl ms, JSON.
-- It replaces a failure, and nothing replaces a success. Answers 1, or 0 when there was one.
local set = redis.pcall('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[1])
if not (set and set.ok) then
  -- There is a result; or Redis is full, and there may be one all the same, whose answer was lost on the way.
  if status_of(KEYS[1]) == 'succeeded' then
    return 0
  end
  if set then
    return set
  end
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
end
redis.call('DEL', KEYS[2])
return 1
