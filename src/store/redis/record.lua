-- Records a result. KEYS: result, claim. ARGV: owner, 1 for a success, ttl ms, JSON.
-- A success replaces a failure, nothing replaces a success, and a failure is only for the owner of the claim to write.
local succeeded = ARGV[2] == '1'
local earlier = redis.call('GET', KEYS[1])
if earlier then
  local readable, result = pcall(cjson.decode, earlier)
  if not succeeded or (readable and result.status == 'succeeded') then
    return 'kept'
  end
end
if not succeeded then
  local owner = redis.call('HGET', KEYS[2], 'owner')
  if owner and owner ~= ARGV[1] then
    return 'not_mine'
  end
end
redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 'written'
