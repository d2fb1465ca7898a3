-- Leads the refreshing of a token, or goes on leading it. KEYS: refresh. ARGV: leader, lease ms. Answers 1, or 2 when the
-- key held something else, or 0 when someone else is at it.
local leader = redis.pcall('GET', KEYS[1])
if type(leader) == 'table' and not string.find(leader.err, 'WRONGTYPE', 1, true) then
  return leader
elseif type(leader) == 'string' and leader ~= ARGV[1] then
  if redis.call('PTTL', KEYS[1]) == -1 then
    -- Nobody would ever lead again. Whoever this is has one lease from now.
    redis.call('SET', KEYS[1], leader, 'PX', ARGV[2])
  end
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return type(leader) == 'table' and 2 or 1
