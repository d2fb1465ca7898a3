-- Claims a login. KEYS: result, claim. ARGV: owner, lease ms, keep ms.
-- Answers {recorded} | {held, ms left} | {mine, times asked before, whether an answer may have been missed}.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'recorded', 0, 0}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local claim = redis.call('HMGET', KEYS[2], 'owner', 'until', 'asked', 'unheard', 'returned')
local owner, ends, asked = claim[1], tonumber(claim[2] or 0), tonumber(claim[3] or 0)
local unheard = tonumber(claim[4] or 0)
if owner == ARGV[1] then
  -- The same claim once more: its answer was lost on the way, and nobody has asked yet.
  asked = asked - 1
elseif ends > now then
  return {'held', ends - now, 0}
elseif owner and not claim[5] then
  -- One that ran out may have missed an answer; one that was given back has said so itself.
  unheard = 1
end
-- This write comes first: a Redis that is full refuses it here, and not the result later, when the code is spent.
redis.call('HSET', KEYS[2], 'owner', ARGV[1], 'asked', asked + 1, 'until', now + ARGV[2], 'unheard', unheard)
redis.call('HDEL', KEYS[2], 'returned')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {'mine', asked, unheard}
