-- Claims a login. KEYS: result, claim. ARGV: owner, lease ms, keep ms.
-- Answers {recorded} | {held, ms left} | {mine, times asked before, whether an answer may have been missed}.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'recorded', 0, 0}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local claim = redis.call('HMGET', KEYS[2], 'until', 'asked', 'unheard')
local ends = tonumber(claim[1] or 0)
if ends > now then
  return {'held', ends - now, 0}
end
local asked = tonumber(claim[2] or 0)
-- A claim that was given back says whether an answer was missed; one that ran out may have missed one.
local unheard = claim[1] and (claim[3] or '1') or '0'
-- This write comes first: a Redis that is full refuses it here, and not the result later, when the code is spent.
redis.call('HSET', KEYS[2], 'owner', ARGV[1], 'asked', asked + 1, 'until', now + ARGV[2])
redis.call('HDEL', KEYS[2], 'unheard')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {'mine', asked, tonumber(unheard)}
