-- Records a failure, which replaces nothing. KEYS: result, claim. ARGV: owner, ttl ms, JSON.
-- Answers written | kept, where there was a result | not_mine, where the claim is someone else's.
if redis.call('EXISTS', KEYS[1]) == 1 and status_of(KEYS[1]) ~= 'odd' then
  return 'kept'
end
local owner
local claim = redis.pcall('GET', KEYS[2])
if type(claim) == 'string' then
  owner = string.match(claim, '^%d+ %d %d+ (.*)$')
elseif claim then
  -- A worker's that was started before claims were texts: a hash. It may have left its failure to us.
  owner = redis.pcall('HGET', KEYS[2], 'owner')
end
if type(owner) == 'string' and owner ~= ARGV[1] then
  return 'not_mine'
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return 'written'
