-- Claims a login. KEYS: result, claim. ARGV: the claim of one that nobody has claimed before, keep ms.
-- A claim is a text: times asked, whether an answer may have been missed, the ms by which the key outlives the lease (so
-- Redis' own expiry keeps the time of both), and the owner, or none once it was given back.
-- Answers nothing where it is mine and new, else {recorded} | {held, ms left} | {mine, times asked before, whether an
-- answer may have been missed}.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'recorded', 0, 0}
end
-- This write comes first: a Redis that is full refuses it here, and not the result later, when the code is spent.
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return false
end
local words = '^(%d+) (%d) (%d+) (.*)$'
local _, _, outlives, mine = string.match(ARGV[1], words)
local owner, asked, unheard, left
local claim = redis.pcall('GET', KEYS[2])
if type(claim) == 'string' then
  local earlier
  asked, unheard, earlier, owner = string.match(claim, words)
  left = redis.call('PTTL', KEYS[2]) - earlier
else
  -- A worker's that was started before claims were texts: a hash.
  local time, hash = redis.call('TIME'), redis.call('HMGET', KEYS[2], 'owner', 'asked', 'unheard', 'until')
  owner, asked, unheard = hash[1], hash[2], hash[3]
  left = hash[4] - (time[1] * 1000 + math.floor(time[2] / 1000))
end
if owner == mine then
  -- The same claim once more: its answer was lost on the way, and nobody has asked yet.
  asked = asked - 1
elseif owner ~= '' and left > 0 then
  return {'held', left, 0}
elseif owner ~= '' then
  -- One that ran out may have missed an answer; one that was given back has said so itself.
  unheard = 1
end
redis.call('SET', KEYS[2], table.concat({asked + 1, unheard, outlives, mine}, ' '), 'PX', ARGV[2])
return {'mine', tonumber(asked), tonumber(unheard)}
